"""Activations in "fast" precision: bfloat16 between steps that know it, and nobody else sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastconv as fc
from fastconv._within import holding
from fastconv.backends import get_backend, use_backend
from fastconv.nn import BatchNorm2d, Conv2d, ReLU, Sequential
from fastconv.nn.containers.within import all_steps
from fastconv.nn.fused.steps import FusedStep, stored_dtype, watcher
from tests.nn.fused.test_patterns import PATTERNS

if "fast" not in get_backend().precisions:
    pytest.skip("fast precision is not there", allow_module_level=True)

KEPT = np.uint16


def _model(name: str, dtype: type = np.float32) -> Sequential:
    """The pattern twice, so that its end meets its beginning, with a convolution before it."""
    start = [Conv2d(16, 3, padding=1), ReLU()]
    return Sequential(*start, *PATTERNS[name][0](), *PATTERNS[name][0]()).build((19, 18, 5), dtype, seed=3)


MODELS = [name for name in PATTERNS if name != "depthwise"]


def _gradients(model: Sequential, x: np.ndarray, precisions: tuple[str, str]) -> dict[str, np.ndarray]:
    with fc.precision(precisions[0]):
        y, context = model.forward(x, training=True)
    with fc.precision(precisions[1]):
        grad = np.random.default_rng(9).standard_normal(y.shape) / y.size
        grad_input = model.backward(grad.astype(x.dtype), context)
    assert y.dtype == grad_input.dtype == x.dtype  # what comes out is never in bfloat16
    return {"y": y, "grad_input": grad_input} | {p.name: fc.to_numpy(p.grad).copy() for p in model.parameters()}


@pytest.mark.parametrize("precisions", [("fast", "fast"), ("fast", "default")], ids="-".join)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_float64_up_to_bfloat16(name: str, precisions: tuple[str, str], rng) -> None:
    x = rng.standard_normal((4, 19, 18, 5), np.float32)
    got = _gradients(_model(name), x, precisions)
    with use_backend("numpy"):
        expected = _gradients(_model(name, np.float64), x.astype(np.float64), ("default", "default"))
    scale = max(np.linalg.norm(value) for key, value in expected.items() if key != "y")
    for key, value in expected.items():
        # Gradients are off by what rectifiers near zero pass or stop, 5 to 15 % (without bfloat16 storage 4 to 13). A
        # bias before a normalisation has no gradient but what rounding leaves.
        allowed = 0.02 * np.linalg.norm(value) if key == "y" else 0.2 * np.linalg.norm(value) + 0.01 * scale
        assert np.linalg.norm(got[key] - value) < allowed, key


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["default", "fast"])
def test_steps_keep_what_they_say(name: str, precision: str, rng) -> None:
    model = _model(name)
    seen: dict[FusedStep, tuple[type, type]] = {}

    class Watch:
        def __init__(self) -> None:
            self.running: list[tuple[FusedStep, type]] = []

        def begins(self, step, direction, x):
            self.running.append((step, x.dtype))

        def ends(self, result):
            step, read = self.running.pop()
            seen[step] = read, result.dtype

    for training in (True, False):
        with holding(watcher, Watch()), fc.precision(precision):
            model.forward(rng.standard_normal((2, 19, 18, 5), np.float32), training=training)
        keeps = precision == "fast" and training
        assert set(seen) == set(all_steps(model))
        for step, (read, written) in seen.items():
            assert (read == KEPT) == (keeps and step.before.stored)
            assert (written == KEPT) == (keeps and "output" in step.stored)


def test_activations_of_a_residual_network_are_kept() -> None:
    model = fc.models.resnet20(seed=0)
    with fc.precision("fast"):
        rows = fc.explain(model, (2, 32, 32, 3)).rows
        assert "bfloat16: convolution and its gradient, output" in str(fc.explain(model, (2, 32, 32, 3)))
    assert sum("output" in row.kept for row in rows) == 16  # not where an option A shortcut or the pooling reads it
    assert sum("convolution and its gradient" in row.kept for row in rows) == 19
    assert not any(row.kept for row in fc.explain(model, (2, 32, 32, 3)).rows)


# In the order of the steps of `_model`: a convolution with a rectifier, then the pattern twice.
KEPT_OUTPUTS = {
    "conv-relu": [True, True, False],
    "conv-relu-pool": [True, False, False],
    "conv-norm": [False, True, False],
    "conv-norm-relu": [False, True, False],
    "conv-norm-relu-pool": [False, True, False],
    "residual": [False, True, False],
    "residual-with-shortcut": [False, True, False, True, False],  # into the identity, not into the other shortcut
    "residual-of-a-layer": [False, False, False, False, False],
    "derived-class": [True, True, False],
    "derived-class-that-computes": [False, False, False, False, False],
}


@pytest.mark.parametrize("name", KEPT_OUTPUTS)
def test_what_is_kept(name: str) -> None:
    assert [step.after.stored for step in _model(name).plan.steps] == KEPT_OUTPUTS[name]


@pytest.mark.parametrize("name", ["conv-norm-relu", "residual"])
def test_results_and_gradients_of_convolutions_are_kept(name: str, rng, monkeypatch: pytest.MonkeyPatch) -> None:
    model, backend = _model(name), get_backend()
    dtypes: dict[str, list[np.dtype]] = {"conv2d_statistics": [], "conv2d_backward_weight": []}

    def spy(operation: str, find: Callable[..., np.ndarray]) -> None:
        real = getattr(backend, operation)

        def called(*arguments, **more):
            dtypes[operation].append(find(*arguments, **more).dtype)
            return real(*arguments, **more)

        monkeypatch.setattr(backend, operation, called)

    spy("conv2d_statistics", lambda *arguments, out, **more: out)
    spy("conv2d_backward_weight", lambda grad_output, *arguments, **more: grad_output)
    with fc.precision("fast"):
        y, context = model.forward(rng.standard_normal((2, 19, 18, 5), np.float32), training=True)
        model.backward(np.ones_like(y), context)
    count = len(dtypes["conv2d_statistics"])
    assert dtypes["conv2d_statistics"] == [KEPT] * count
    assert dtypes["conv2d_backward_weight"] == [KEPT] * count + [np.float32]  # backwards; the first one has no norm


@pytest.mark.parametrize("bias", [0.0, 500.0])
def test_a_bias_before_a_normalisation_costs_nothing(bias: float, rng) -> None:
    x = rng.standard_normal((4, 19, 18, 5), np.float32)
    models = []
    for dtype, backend in ((np.float32, "numba"), (np.float64, "numpy")):
        with use_backend(backend):
            model = Sequential(*[Conv2d(16, 3), BatchNorm2d(), ReLU(), Conv2d(16, 3), BatchNorm2d(), ReLU()])
            model.build(x.shape[1:], dtype, seed=2)
            for convolution in (model.layers[0], model.layers[3]):
                convolution.bias.data = np.full(16, bias)
            with fc.precision("fast" if backend == "numba" else "default"):
                y, context = model.forward(x.astype(dtype), training=True)
                model.backward(np.ones_like(y), context)
        models.append((model, y))
    (model, got), (reference, expected) = models
    assert np.linalg.norm(got - expected) < 0.02 * np.linalg.norm(expected)
    for ours, theirs in zip(model.buffers(), reference.buffers(), strict=True):  # it moves the running mean
        np.testing.assert_allclose(ours.data, theirs.data, rtol=0.02, atol=0.01)
    assert not any(np.any(model.layers[i].bias.grad) for i in (0, 3))


def test_arrays_of_that_type_are_refused_from_outside(rng) -> None:
    model = _model("residual")
    x = rng.integers(0, 9, (2, 19, 18, 16)).astype(KEPT)
    for part, given in ((model, x[..., :5]), (model.layers[2].body, x), (model.layers[2], x)):
        with fc.precision("fast"), pytest.raises(fc.errors.DTypeError, match="uint16"):
            part.forward(np.ascontiguousarray(given), training=True)


def test_float64_is_kept_as_it_is() -> None:
    with fc.precision("fast"):
        assert stored_dtype(_model("conv-norm", np.float64)) == np.float64
        assert stored_dtype(_model("conv-norm")) == KEPT


def test_captured_step_gives_the_same_bits(rng) -> None:
    x, labels = rng.standard_normal((8, 32, 32, 3), np.float32), rng.integers(0, 10, 8).astype(np.int32)
    found = []
    for capture in (False, True):
        model = fc.models.resnet20(seed=0)
        optimizer = fc.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0, capture=capture)
        with fc.precision("fast"):
            losses = [float(trainer.train_step(x, labels)) for _ in range(3)]
        found.append((losses, [fc.to_numpy(p.data).tobytes() for p in model.parameters()]))
    assert found[0] == found[1]
    assert found[0][0][-1] < found[0][0][0]
