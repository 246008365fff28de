"""Networks frozen for inference: the same numbers as the model, from any thread, whatever happens to the model."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import get_backend, use_backend
from fastconv.nn import (
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dense,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    LocalResponseNorm,
    Maxout,
    MaxPool2d,
    Parallel,
    PReLU,
    ReLU,
    Residual,
    Sequential,
    Softmax,
    SubsamplePad,
    Upsample,
)

SHAPE = (9, 8, 6)


def _norm() -> BatchNorm2d:
    """With an eps that counts: one of 1e-5 may be built in, or left out, and nobody sees it."""
    return BatchNorm2d(eps=0.3)


def _residual(width: int, stride: int) -> list:
    body = Sequential(
        Conv2d(width, 3, stride=stride, padding=1, bias=False), _norm(), ReLU(),
        Conv2d(width, 3, padding=1), _norm(),
    )  # fmt: skip
    return [Residual(body, SubsamplePad(width, stride=stride)), ReLU()]


NETWORKS = {
    "conv-bn-relu-pool": lambda: [Conv2d(16, 3), _norm(), ReLU(), MaxPool2d(2), Flatten(), Dense(5)],
    "conv-bn-as-it-comes": lambda: [Conv2d(16, 3), BatchNorm2d(), ReLU()],
    "conv-bn-without-scale": lambda: [Conv2d(16, 3), BatchNorm2d(eps=0.3, scale=False), GELU()],
    "conv-relu-dilated-pool": lambda: [Conv2d(16, 3), ReLU(), MaxPool2d(2, dilation=2), Flatten(), Dense(5)],
    "conv-bn": lambda: [Conv2d(17, 3, padding=1), _norm(), GlobalAvgPool2d()],
    "conv-relu": lambda: [Conv2d(9, (3, 2), stride=2), ReLU(), AvgPool2d(2), Flatten(), Dropout(0.5), Dense(3), ReLU()],
    "residual": lambda: [*_residual(16, 1), *_residual(32, 2), GlobalAvgPool2d(), Dense(4)],
    "plain-residual": lambda: [Residual(Conv2d(6, 3, padding=1)), GELU()],
    "parallel": lambda: [
        Parallel(Sequential(Conv2d(4, 1), _norm(), ReLU()), Conv2d(3, 3, padding=1), mode="concatenate"),
        Parallel(Conv2d(5, 1), Conv2d(5, 3, padding=1)),
        _norm(),
    ],
    # Views of the input, which the other branch reads too: no sum may be written into them.
    "residual-of-views": lambda: [
        Parallel(Residual(Sequential(Dropout(0.5))), Parallel(Dropout(0.5), Dropout(0.1)), Conv2d(6, 1)),
        GlobalAvgPool2d(),
    ],
    "depthwise": lambda: [DepthwiseConv2d(3, 2, padding=1), _norm(), ReLU(), Conv2d(5, 1), GroupNorm(5), PReLU()],
    "transposed": lambda: [ConvTranspose2d(8, 3, stride=2), Maxout(2), LocalResponseNorm(3, alpha=0.5), Upsample(2)],
    "probabilities": lambda: [Conv2d(9, 3), AdaptiveAvgPool2d((2, 1)), Flatten(), Dense(4), Softmax()],
    "one-layer": lambda: [Conv2d(2, 1)],
}


def _trained(name: str, rng: np.random.Generator, dtype: str = "float64") -> Sequential:
    """Build a network and give it weights and running statistics that are not the initial ones."""
    model = Sequential(*NETWORKS[name]()).build(SHAPE, dtype, seed=1)
    for tensor in model.tensors():
        values = rng.standard_normal(tensor.shape)
        tensor.data = np.abs(values) + 0.1 if tensor.name.endswith("var") else values
    return model


@pytest.mark.float64
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_plan_gives_what_the_model_gives(name: str, batch: int, backend, rng: np.random.Generator) -> None:
    model = _trained(name, rng)
    plan = model.compile((batch, *SHAPE))
    assert plan.input_shape == (batch, *SHAPE)
    for _ in range(3):
        x = rng.standard_normal((batch, *SHAPE))
        expected = fc.to_numpy(model(fc.asarray(x)))
        got = fc.to_numpy(plan(fc.asarray(x)))
        assert plan.output_shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("backend", ["numba"], indirect=True)  # the reference takes long for whole networks
@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_plan_of_a_model_in_float32(name: str, backend, rng: np.random.Generator) -> None:
    model = getattr(fc.models, name)(seed=0)
    x = rng.standard_normal((2, *model.input_shape)).astype(np.float32)
    model.forward(x, training=True)  # moves the running statistics
    expected = model(x)
    np.testing.assert_allclose(model.compile(x.shape)(x), expected, atol=1e-5 * np.abs(expected).max())


def test_what_winograd_cannot_compute_is_computed_in_a_plan_too(rng: np.random.Generator) -> None:
    """The recorded program breaks off there, and goes on with the next input."""
    with use_backend("numba"):
        layers = [Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 3, padding=1)]
        model = Sequential(*layers).build((16, 16, 16), seed=0)
        for layer in (layers[0], layers[3]):
            layer.weight.data = layer.weight.data * np.float32(1e-4)
        x = rng.standard_normal((4, 16, 16, 16)).astype(np.float32)
        plan = model.compile(x.shape)
        for scale in (1, 2e37, 1, 3e37, 2):
            scaled = x.clip(-2, 2) * np.float32(scale)
            with fc.precision("strict"):
                expected = model(scaled.astype(np.float32))
            assert np.isfinite(expected).all()
            np.testing.assert_allclose(plan(scaled), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.float64
def test_training_on_does_not_change_the_plan(backend, rng: np.random.Generator) -> None:
    model = _trained("residual", rng)
    x = fc.asarray(rng.standard_normal((2, *SHAPE)))
    plan = model.compile(x.shape)
    before = fc.to_numpy(plan(x)).copy()
    version = [p.version for p in model.parameters()]
    optimizer = fc.optim.SGD(model.parameters(), 0.1)
    fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer).train_step(x, np.zeros(2, np.int32))
    assert [p.version for p in model.parameters()] != version
    np.testing.assert_array_equal(fc.to_numpy(plan(x)), before)
    again = fc.to_numpy(model.compile(x.shape)(x))
    assert not np.allclose(again, before)


def test_results_are_the_callers_own(rng: np.random.Generator) -> None:
    model = _trained("conv-relu", rng, "float32")
    plan = model.compile((1, *SHAPE))
    x = rng.standard_normal((1, *SHAPE)).astype(np.float32)
    first = plan(x)
    kept = first.copy()
    plan(x + 1)
    np.testing.assert_array_equal(first, kept)


def test_threads_share_a_plan(rng: np.random.Generator) -> None:
    model = _trained("residual", rng, "float32")
    plan = model.compile((2, *SHAPE))
    inputs = [rng.standard_normal((2, *SHAPE)).astype(np.float32) for _ in range(4)]
    expected = [plan(x) for x in inputs]
    wrong = []

    def run(i: int) -> None:
        wrong.extend(i for _ in range(50) if not np.array_equal(plan(inputs[i]), expected[i]))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_whole_network_is_one_program(rng: np.random.Generator) -> None:
    """On the CPU nothing is left of the layers: no normalisation of its own, no launch from Python."""
    model = _trained("residual", rng, "float32")
    with use_backend("numba"):
        plan = model.compile((2, *SHAPE))
    program = plan._replay.args[0]
    assert "normalise" not in program.names
    assert not {"pack_weight", "transform_weight", "times_zero"} & set(program.names)
    assert get_backend().name == "numba"


@pytest.mark.parametrize("shape", [SHAPE, (0, *SHAPE), (1, 9, 8, 5), (1, 2, 2, 6), (1, 1, *SHAPE)])
def test_wrong_input_shape(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    model = _trained("conv-bn-relu-pool", rng)
    with pytest.raises(fc.errors.ShapeError):
        model.compile(shape)


def test_wrong_batch_and_type(rng: np.random.Generator) -> None:
    plan = _trained("conv-bn", rng, "float32").compile((2, *SHAPE))
    with pytest.raises(fc.errors.ShapeError, match=r"x: got shape \(3, 9, 8, 6\); allowed: \(2, 9, 8, 6\)"):
        plan(np.zeros((3, *SHAPE), np.float32))
    with pytest.raises(fc.errors.DTypeError, match="got float64; allowed: float32"):
        plan(np.zeros((2, *SHAPE)))


def test_model_that_is_not_built() -> None:
    with pytest.raises(fc.errors.ArgumentError, match="not built"):
        Sequential(Dense(3)).compile((1, 4))
