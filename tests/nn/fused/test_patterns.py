"""Layers that run as one give what they give one by one, and only where nobody changed them."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv._explain import _steps
from fastconv.backends import get_backend
from fastconv.nn import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Identity,
    Layer,
    MaxPool2d,
    Parallel,
    ReLU,
    Residual,
    Sequential,
    SubsamplePad,
)
from fastconv.nn.fused.convolution import ConvNorm, ConvReLU, ResidualReLU
from fastconv.nn.fused.patterns import find_steps
from fastconv.nn.fused.steps import Step


class MyConv(Conv2d):
    """Derived from a layer that is fused."""


def _norm() -> BatchNorm2d:
    """Settings that are not the usual ones: a step that has those built in gives something else."""
    return BatchNorm2d(eps=0.3, momentum=0.35)


def _block(channels: int, stride: int = 1) -> Residual:
    body = Sequential(
        Conv2d(channels, 3, stride=stride, padding=1, bias=False), _norm(), ReLU(),
        Conv2d(channels, 3, padding=1, bias=False), _norm(),
    )  # fmt: skip
    return Residual(body, SubsamplePad(channels, stride=stride) if stride > 1 else None)


PATTERNS = {
    "conv-relu": (lambda: [Conv2d(17, 3, padding=1), ReLU()], [ConvReLU]),
    "conv-relu-without-bias": (lambda: [Conv2d(16, 3, bias=False), ReLU()], [ConvReLU]),
    "conv-relu-pool": (lambda: [Conv2d(16, 3), ReLU(), MaxPool2d(2)], [ConvReLU]),
    "conv-relu-overlapping-pool": (lambda: [Conv2d(9, 3), ReLU(), MaxPool2d(3, stride=2, padding=1)], [ConvReLU]),
    "conv-relu-conv-relu-pool": (
        lambda: [Conv2d(16, 3, padding=1), ReLU(), Conv2d(18, 3), ReLU(), MaxPool2d(2)],
        [ConvReLU, ConvReLU],
    ),
    "three-convs-without-bias": (
        lambda: [Conv2d(16, 3, bias=False), ReLU(), Conv2d(17, 1), ReLU(), Conv2d(18, 3, stride=2), ReLU()],
        [ConvReLU] * 3,
    ),
    "conv-norm": (lambda: [Conv2d(16, 3, padding=1), _norm()], [ConvNorm]),
    "conv-norm-as-it-comes": (lambda: [Conv2d(16, 3, padding=1), BatchNorm2d(), ReLU()], [ConvNorm]),
    "conv-norm-relu-conv-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(18, 3), ReLU()],
        [ConvNorm, ConvReLU],
    ),
    "conv-norm-relu-conv-relu-pool": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(18, 3), ReLU(), MaxPool2d(2)],
        [ConvNorm, ConvReLU],
    ),
    "conv-norm-relu-plain-conv": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(17, 3), GELU()],
        [ConvNorm, Step, Step],
    ),
    "conv-norm-relu-conv-norm": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(17, 3), _norm(), ReLU()],
        [ConvNorm, ConvNorm],
    ),
    "conv-norm-relu-pool-conv-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), MaxPool2d(2), Conv2d(17, 3), ReLU()],
        [ConvNorm, ConvReLU],
    ),
    "conv-relu-dilated-pool": (lambda: [Conv2d(16, 3), ReLU(), MaxPool2d(2, dilation=2)], [ConvReLU]),
    "conv-norm-relu-dilated-pool": (
        lambda: [Conv2d(16, 3), _norm(), ReLU(), MaxPool2d(3, stride=1, dilation=(2, 1))],
        [ConvNorm],
    ),
    "dilated-pool": (lambda: [MaxPool2d((2, 3), stride=1, dilation=(3, 2))], [Step]),
    "norm": (lambda: [_norm(), GELU()], [Step, Step]),
    "conv-norm-relu": (lambda: [Conv2d(18, 3, padding=1, bias=False), _norm(), ReLU()], [ConvNorm]),
    "conv-norm-relu-pool": (lambda: [Conv2d(16, 3), _norm(), ReLU(), MaxPool2d(2)], [ConvNorm]),
    "conv-norm-relu-ceiling": (
        lambda: [Conv2d(16, 2), _norm(), ReLU(), MaxPool2d(2, ceil_mode=True)],
        [ConvNorm],
    ),
    "residual": (lambda: [_block(16), ReLU()], [ResidualReLU]),
    "residual-with-shortcut": (lambda: [_block(20, 2), ReLU(), _block(20), ReLU()], [ResidualReLU] * 2),
    "residual-behind-conv-norm-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), _block(16), ReLU()],
        [ConvNorm, ResidualReLU],
    ),
    "residual-that-opens-with-a-plain-conv": (
        lambda: [
            Residual(Sequential(Conv2d(16, 3, padding=1), GELU(), Conv2d(16, 3, padding=1), _norm())),
            ReLU(),
        ],
        [ResidualReLU],
    ),
    "residual-that-opens-with-an-activation": (
        lambda: [Residual(Sequential(GELU(), Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualReLU],
    ),
    "residual-that-opens-with-a-norm": (
        lambda: [Residual(Sequential(_norm(), Conv2d(16, 1), _norm(), Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualReLU],
    ),
    "residual-of-views": (lambda: [Residual(Sequential(Identity(), Identity()), Conv2d(16, 1))], [Step]),
    "residual-of-views-alone": (lambda: [Residual(Sequential(Identity())), GELU()], [Step, Step]),
    "shortcut-of-views": (lambda: [Residual(Conv2d(16, 1), Sequential(Identity(), Identity()))], [Step]),
    "parallel-views": (lambda: [Parallel(Sequential(Identity()), Sequential(Identity(), Identity()))], [Step]),
    "residual-of-a-conv": (
        lambda: [Residual(Sequential(Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualReLU],
    ),
    "residual-of-a-pooling": (
        lambda: [
            Residual(
                Sequential(
                    Conv2d(16, 3, padding=1),
                    ReLU(),
                    MaxPool2d(3, stride=1, padding=1),
                    Conv2d(16, 3, padding=1),
                    _norm(),
                )
            ),
            ReLU(),
        ],
        [ResidualReLU],
    ),
    "nested": (
        lambda: [Residual(Sequential(_block(16), ReLU(), Conv2d(16, 1), _norm())), ReLU()],
        [ResidualReLU],
    ),
    "depthwise": (lambda: [Conv2d(16, 3, groups=16), _norm(), ReLU()], [ConvNorm]),
    "other-activation": (lambda: [Conv2d(16, 3), GELU()], [Step, Step]),
    "derived-class": (lambda: [MyConv(16, 3), ReLU()], [Step, Step]),
    "residual-with-activation-inside": (
        lambda: [Residual(Sequential(Conv2d(16, 3, padding=1), _norm(), ReLU())), ReLU()],
        [Step, Step],
    ),
    "residual-of-a-layer": (lambda: [Residual(Conv2d(16, 3, padding=1)), ReLU()], [Step, Step]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_found(name: str) -> None:
    layers, expected = PATTERNS[name][0](), PATTERNS[name][1]
    steps = find_steps(layers)
    assert [type(step) for step in steps] == expected
    assert [layer for step in steps for layer in step.layers] == layers


def _one_by_one(model: Sequential) -> None:
    """Run every layer as it is."""
    for layer in model.walk():
        if isinstance(layer, Sequential):
            layer.steps = tuple(Step(child) for child in layer.layers)


def _build(name: str) -> Sequential:
    return Sequential(*PATTERNS[name][0]()).build((9, 8, 16), np.float64, seed=3)


def _run(model: Layer, x: np.ndarray, grad: np.ndarray, needs: bool) -> dict[str, np.ndarray | None]:
    y, context = model.forward(fc.asarray(x), training=True)
    grad_input = model.backward(fc.asarray(grad), context, needs_input_grad=needs)
    first = {p.name: fc.to_numpy(p.grad).copy() for p in model.parameters()}
    _, context = model.forward(fc.asarray(x + 1), training=True)  # gradients add up
    model.backward(fc.asarray(grad), context, needs_input_grad=needs)
    result = {"y": fc.to_numpy(y), "grad_input": None if grad_input is None else fc.to_numpy(grad_input)}
    result |= {f"first {key}": value for key, value in first.items()}
    result |= {f"sum {p.name}": fc.to_numpy(p.grad) for p in model.parameters()}
    result |= {b.name: fc.to_numpy(b.data) for b in model.buffers()}
    return result | {"inference": fc.to_numpy(model(fc.asarray(x)))}


@pytest.mark.parametrize("needs", [True, False], ids=["grad-of-input", "no-grad-of-input"])
@pytest.mark.parametrize("name", PATTERNS)
def test_fused_is_what_the_layers_give(name: str, needs: bool, backend, rng: np.random.Generator) -> None:
    fused, plain = _build(name), _build(name)
    _one_by_one(plain)
    x = rng.standard_normal((3, 9, 8, 16))
    grad = rng.standard_normal((3, *fused.infer((9, 8, 16))))
    before = grad.copy()
    got, expected = _run(fused, x, grad, needs), _run(plain, x, grad, needs)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        if value is None:
            assert got[key] is None
        else:
            np.testing.assert_allclose(got[key], value, rtol=1e-9, atol=1e-9 * max(1, np.abs(value).max()), err_msg=key)
    np.testing.assert_array_equal(grad, before)  # the caller's array is not written to


def test_steps_call_the_operations_that_they_name(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Each of the lists that `explain` shows, against the calls that are made."""
    backend = get_backend()
    called: list[str] = []
    for name in (
        "conv-relu",
        "conv-relu-pool",
        "conv-relu-conv-relu-pool",
        "conv-norm",
        "conv-norm-relu",
        "conv-norm-relu-pool",
        "residual",
        "residual-of-a-pooling",
    ):
        model = _build(name)
        steps = list(_steps(model))  # those inside of others too
        forward = [name for step in steps for name in step.forward_operations]
        backward = [name for step in steps for name in step.backward_operations]
        called.clear()
        for operation in {*forward, *backward}:
            real = getattr(backend, operation)

            def spy(*args, _real=real, _name=operation, **more):
                called.append(_name)
                return _real(*args, **more)

            monkeypatch.setattr(backend, operation, spy)
        y, context = model.forward(rng.standard_normal((2, 9, 8, 16)), training=True)
        assert set(called) >= set(forward), name
        called.clear()
        model.backward(np.ones(y.shape), context)
        assert set(called) >= set(backward), name
        monkeypatch.undo()


def test_empty_batch_in_training_says_so() -> None:
    model = _build("conv-norm-relu")
    with pytest.raises(fc.errors.ShapeError, match="at least one image"):
        model.forward(np.empty((0, 9, 8, 16)), training=True)
