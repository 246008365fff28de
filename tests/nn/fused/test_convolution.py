"""Any activation behind convolutions and normalisations: trained, captured, frozen and explained as ReLU is."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.kernels.pointwise import POINTWISE
from fastconv.testing import gradcheck
from tests.nn.fused.test_patterns import run_one_by_one

SIZE = (5, 4, 2)
SOME = ["GELU", *(pytest.param(layer, marks=pytest.mark.slow) for layer in ("SiLU", "LeakyReLU"))]


def _net(layer: str, dtype: type = np.float64, width: int = 16) -> nn.Sequential:
    """The activation behind all that it can be behind, and before all that can do its gradient."""
    activation, norm = getattr(nn, layer), nn.BatchNorm2d

    def conv(**more: bool) -> nn.Conv2d:
        return nn.Conv2d(width, 3, padding=1, **more)

    return nn.Sequential(
        *(conv(), activation(), conv(bias=False), activation(), conv(), norm(), activation()),
        *(nn.Residual(nn.Sequential(conv(bias=False), norm())), activation()),
        *(conv(), norm(), activation(), nn.MaxPool2d(2)),
        *(conv(), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(3)),
    ).build(SIZE, dtype, seed=2)


def trained(model: nn.Sequential, *, capture: bool = False) -> dict[str, np.ndarray]:
    """Return losses and all values after three steps."""
    rng, (classes,) = np.random.default_rng(3), model.infer(model.input_shape)
    loss, optimizer = fc.losses.SoftmaxCrossEntropy(0.2), fc.optim.SGD(model.parameters(), 0.05, 0.9)
    trainer = fc.Trainer(model, loss, optimizer, seed=4, capture=capture)
    y, losses = fc.asarray(np.arange(6, dtype=np.int32) % classes), []
    for _ in range(3):
        x = fc.asarray(rng.standard_normal((6, *model.input_shape)).astype(model.dtype))
        losses.append(fc.to_numpy(trainer.train_step(x, y)).copy())
    assert not capture or trainer._captured.works
    return {"losses": np.array(losses)} | {t.name: fc.to_numpy(t.data).copy() for t in model.tensors()}


def check_trained_alike(fused: nn.Sequential, plain: nn.Sequential) -> None:
    got = trained(fused)
    for name, value in trained(plain).items():
        np.testing.assert_allclose(got[name], value, rtol=1e-8, atol=1e-8, err_msg=name)


def check_run_alike(fused: nn.Sequential, plain: nn.Sequential, rng: np.random.Generator) -> None:
    x = fc.asarray(rng.standard_normal((4, *fused.input_shape)))
    expected = fc.to_numpy(plain(x))
    for run in (fused, fused.compile(x.shape), fused.predict):
        np.testing.assert_allclose(fc.to_numpy(run(x)), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("layer", SOME)
@pytest.mark.float64
def test_gradients_are_slopes(layer: str, backend, rng: np.random.Generator) -> None:
    whole = _net(layer, width=2).layers
    gradcheck(nn.Sequential(*whole[:2], *whole[9:13]).build(SIZE, np.float64), rng.standard_normal((1, *SIZE)))


@pytest.mark.parametrize("layer", SOME)
@pytest.mark.float64
def test_trained_as_one_by_one(layer: str, backend, rng: np.random.Generator) -> None:
    fused, plain = _net(layer), _net(layer)
    run_one_by_one(plain)
    assert len(fused.plan.steps) < len(plain.plan.steps) / 2
    check_trained_alike(fused, plain)
    check_run_alike(fused, plain, rng)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["GELU", "SiLU", "LeakyReLU"])
def test_captured_steps_give_the_same_bits(layer: str) -> None:
    with fc.use_backend("numba"):
        plain, captured = (trained(_net(layer, np.float32), capture=capture) for capture in (False, True))
    for name, value in plain.items():
        assert captured[name].tobytes() == value.tobytes(), name


@pytest.mark.float64
@pytest.mark.parametrize("layer", SOME)
def test_explain_shows_it(layer: str, backend) -> None:
    rows = fc.explain(_net(layer), (2, *SIZE)).rows
    name, kinds = next(f.name for f in POINTWISE.values() if f.layer == layer), [row.kinds for row in rows]
    assert kinds[:3] == [("Conv2d", layer)] * 2 + [("Conv2d", "BatchNorm2d", layer)]
    assert kinds[-3] == ("Conv2d", layer, "MaxPool2d")
    assert rows[0].operations == (f"conv2d + {name}",)
    assert (
        rows[1].operations == (f"conv2d + {name}", f"activate_backward + {name}", f"conv2d_backward_input + {name}")[:3]
    )
    assert rows[-3].operations[:2] == (f"conv2d + {name} + max_pool2d", f"activate_backward_bias + {name}")
    pooled = next(row for row in rows if "MaxPool2d" in row.kinds and "BatchNorm2d" in row.kinds)
    assert f"batch_norm_backward + {name} + max_pool2d" in pooled.operations


@pytest.mark.parametrize("layer", [None, nn.ReLU, nn.GELU], ids=str)
def test_a_result_is_kept_for_a_gradient_alone(layer: type[nn.Layer] | None, rng: np.random.Generator) -> None:
    """For one that is computed from it: not by a normalisation without an activation."""
    behind = () if layer is None else (layer(),)
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Conv2d(3, 3, padding=1), nn.BatchNorm2d(), *behind).build(SIZE, np.float64)
        (step,) = model.plan.steps
        y, (*_, kept) = step.forward(rng.standard_normal((2, *SIZE)), training=True)
    assert kept["saved"] is (y if layer is nn.ReLU else None)
