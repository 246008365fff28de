"""Layers that run as one give what they give one by one, and only where nobody changed them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.epilogue import ALL_NATIVE, Epilogue
from fastconv.kernels.pointwise import Activation
from fastconv.nn import (
    ELU,
    GELU,
    BatchNorm2d,
    Conv2d,
    Identity,
    Layer,
    LeakyReLU,
    MaxPool2d,
    Parallel,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    SubsamplePad,
    Tanh,
)
from fastconv.nn.containers.within import all_steps
from fastconv.nn.fused.convolution import ConvActivation, ConvNorm
from fastconv.nn.fused.endings import NormEnding
from fastconv.nn.fused.patterns import find_steps
from fastconv.nn.fused.plan import Plan
from fastconv.nn.fused.pool_norm import ConvPoolNorm
from fastconv.nn.fused.residual import ResidualActivation
from fastconv.nn.fused.steps import Single
from tests.backends.op_case import FUSED
from tests.conftest import CPU_BACKENDS


class MyConv(Conv2d):
    """Derived from a layer that is fused, and computes as that."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3)
        self.note = "mine"

    def describe(self) -> str:
        return self.note


class Doubling(Conv2d):
    """Derived from a layer that is fused, and computes something else."""

    def forward(self, x, *, training):
        y, context = super().forward(x, training=training)
        return y + y, context

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return super().backward(grad_output + grad_output, context, needs_input_grad=needs_input_grad)


class MyBlock(Residual):
    """A block with another name."""


class HalvedBlock(Residual):
    """A block that computes something else."""

    def forward(self, x, *, training):
        y, context = super().forward(x, training=training)
        return 0.5 * y, context

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return super().backward(0.5 * grad_output, context, needs_input_grad=needs_input_grad)


def _norm() -> BatchNorm2d:
    """Settings that are not the usual ones: a step that has those built in gives something else."""
    return BatchNorm2d(eps=0.3, momentum=0.35)


def _block(channels: int, stride: int = 1, activation: type[Layer] = ReLU) -> Residual:
    body = Sequential(
        Conv2d(channels, 3, stride=stride, padding=1, bias=False), _norm(), activation(),
        Conv2d(channels, 3, padding=1, bias=False), _norm(),
    )  # fmt: skip
    return Residual(body, SubsamplePad(channels, stride=stride) if stride > 1 else None)


PATTERNS = {
    "conv-relu": (lambda: [Conv2d(17, 3, padding=1), ReLU()], [ConvActivation]),
    "conv-relu-without-bias": (lambda: [Conv2d(16, 3, bias=False), ReLU()], [ConvActivation]),
    "conv-relu-pool": (lambda: [Conv2d(16, 3), ReLU(), MaxPool2d(2)], [ConvActivation]),
    "conv-relu-overlapping-pool": (lambda: [Conv2d(9, 3), ReLU(), MaxPool2d(3, stride=2, padding=1)], [ConvActivation]),
    "conv-relu-conv-relu-pool": (
        lambda: [Conv2d(16, 3, padding=1), ReLU(), Conv2d(18, 3), ReLU(), MaxPool2d(2)],
        [ConvActivation, ConvActivation],
    ),
    "three-convs-without-bias": (
        lambda: [Conv2d(16, 3, bias=False), ReLU(), Conv2d(17, 1), ReLU(), Conv2d(18, 3, stride=2), ReLU()],
        [ConvActivation] * 3,
    ),
    "conv-norm": (lambda: [Conv2d(16, 3, padding=1), _norm()], [ConvNorm]),
    "conv-norm-as-it-comes": (lambda: [Conv2d(16, 3, padding=1), BatchNorm2d(), ReLU()], [ConvNorm]),
    "conv-norm-without-scale-gelu-conv-norm": (
        lambda: [Conv2d(16, 3), BatchNorm2d(eps=0.3, scale=False), GELU(), Conv2d(17, 3), BatchNorm2d(scale=False)],
        [ConvNorm, ConvNorm],
    ),
    "conv-norm-relu-conv-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(18, 3), ReLU()],
        [ConvNorm, ConvActivation],
    ),
    "conv-norm-relu-conv-relu-pool": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(18, 3), ReLU(), MaxPool2d(2)],
        [ConvNorm, ConvActivation],
    ),
    "conv-norm-relu-plain-conv": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(17, 3), Identity()],
        [ConvNorm, Single, Single],
    ),
    "conv-norm-relu-conv-norm": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), Conv2d(17, 3), _norm(), ReLU()],
        [ConvNorm, ConvNorm],
    ),
    "conv-norm-relu-pool-conv-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), MaxPool2d(2), Conv2d(17, 3), ReLU()],
        [ConvNorm, ConvActivation],
    ),
    "conv-relu-dilated-pool": (lambda: [Conv2d(16, 3), ReLU(), MaxPool2d(2, dilation=2)], [ConvActivation]),
    "conv-norm-relu-dilated-pool": (
        lambda: [Conv2d(16, 3), _norm(), ReLU(), MaxPool2d(3, stride=1, dilation=(2, 1))],
        [ConvNorm],
    ),
    "dilated-pool": (lambda: [MaxPool2d((2, 3), stride=1, dilation=(3, 2))], [Single]),
    "norm": (lambda: [_norm(), GELU()], [Single, Single]),
    "conv-norm-relu": (lambda: [Conv2d(18, 3, padding=1, bias=False), _norm(), ReLU()], [ConvNorm]),
    "conv-norm-relu-pool": (lambda: [Conv2d(16, 3), _norm(), ReLU(), MaxPool2d(2)], [ConvNorm]),
    "conv-norm-relu-ceiling": (
        lambda: [Conv2d(16, 2), _norm(), ReLU(), MaxPool2d(2, ceil_mode=True)],
        [ConvNorm],
    ),
    "conv-pool-norm": (lambda: [Conv2d(17, 3, padding=1), MaxPool2d(2), _norm()], [ConvPoolNorm]),
    "conv-pool-norm-gelu-conv-norm-gelu": (
        lambda: [
            *(Conv2d(16, 3, padding="same", bias=False), MaxPool2d(2), _norm(), GELU()),
            *(Conv2d(18, 3, padding="same", bias=False), _norm(), GELU()),
        ],
        [ConvPoolNorm, ConvNorm],
    ),
    "conv-gelu-conv-pool-norm-relu-pool": (
        lambda: [Conv2d(17, 2), GELU(), Conv2d(16, 3, padding=1), MaxPool2d(2), _norm(), ReLU(), MaxPool2d(2)],
        [ConvActivation, ConvPoolNorm],
    ),
    "conv-norm-gelu-conv-pool-norm-silu": (
        lambda: [Conv2d(17, 3), _norm(), GELU(), Conv2d(16, 3, padding=1), MaxPool2d(2), _norm(), SiLU()],
        [ConvNorm, ConvPoolNorm],
    ),
    "conv-overlapping-pool-norm-relu": (
        lambda: [Conv2d(9, 3), MaxPool2d(3, stride=2, padding=1), _norm(), ReLU()],
        [ConvPoolNorm],
    ),
    "conv-pool-gelu": (lambda: [Conv2d(16, 3), MaxPool2d(2), GELU()], [Single] * 3),
    "pool-norm": (lambda: [MaxPool2d(2), _norm(), GELU()], [Single] * 3),
    "residual-that-opens-with-a-pooling-before-a-norm": (
        lambda: [
            Conv2d(16, 3, padding=1),
            _norm(),
            ReLU(),
            Residual(
                Sequential(
                    *(Conv2d(16, 3, padding=1), MaxPool2d(3, stride=1, padding=1), _norm(), ReLU()),
                    *(Conv2d(16, 3, padding=1), _norm()),
                )
            ),
            ReLU(),
        ],
        [ConvNorm, ResidualActivation],
    ),
    "residual-that-ends-with-a-pooling-before-a-norm": (
        lambda: [Residual(Sequential(Conv2d(16, 3, padding=1), MaxPool2d(3, stride=1, padding=1), _norm())), ReLU()],
        [Single, Single],
    ),
    "residual": (lambda: [_block(16), ReLU()], [ResidualActivation]),
    "residual-with-shortcut": (lambda: [_block(20, 2), ReLU(), _block(20), ReLU()], [ResidualActivation] * 2),
    "residual-behind-conv-norm-relu": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), ReLU(), _block(16), ReLU()],
        [ConvNorm, ResidualActivation],
    ),
    "residual-that-opens-with-a-plain-conv": (
        lambda: [
            Residual(Sequential(Conv2d(16, 3, padding=1), Identity(), Conv2d(16, 3, padding=1), _norm())),
            ReLU(),
        ],
        [ResidualActivation],
    ),
    "residual-that-opens-with-an-activation": (
        lambda: [Residual(Sequential(GELU(), Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualActivation],
    ),
    "residual-that-opens-with-a-norm": (
        lambda: [Residual(Sequential(_norm(), Conv2d(16, 1), _norm(), Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualActivation],
    ),
    "residual-of-views": (lambda: [Residual(Sequential(Identity(), Identity()), Conv2d(16, 1))], [Single]),
    "residual-of-views-alone": (lambda: [Residual(Sequential(Identity())), GELU()], [Single, Single]),
    "shortcut-of-views": (lambda: [Residual(Conv2d(16, 1), Sequential(Identity(), Identity()))], [Single]),
    "parallel-views": (lambda: [Parallel(Sequential(Identity()), Sequential(Identity(), Identity()))], [Single]),
    "residual-of-a-conv": (
        lambda: [Residual(Sequential(Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [ResidualActivation],
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
        [ResidualActivation],
    ),
    "nested": (
        lambda: [Residual(Sequential(_block(16), ReLU(), Conv2d(16, 1), _norm())), ReLU()],
        [ResidualActivation],
    ),
    "depthwise": (lambda: [Conv2d(16, 3, groups=16), _norm(), ReLU()], [ConvNorm]),
    "conv-gelu": (lambda: [Conv2d(16, 3), GELU()], [ConvActivation]),
    "conv-silu-pool": (lambda: [Conv2d(16, 3), SiLU(), MaxPool2d(2)], [ConvActivation]),
    "conv-tanh-pool": (lambda: [Conv2d(16, 3), Tanh(), MaxPool2d(2)], [ConvActivation]),
    "conv-gelu-conv-silu-conv-leaky-pool": (
        lambda: [
            *(Conv2d(16, 3, padding=1), GELU(), Conv2d(17, 1, bias=False), SiLU()),
            *(Conv2d(18, 3, padding=1), LeakyReLU(0.2), MaxPool2d(2)),
        ],
        [ConvActivation] * 3,
    ),
    "conv-gelu-conv-relu-pool": (
        lambda: [Conv2d(16, 3, padding=1), GELU(), Conv2d(17, 3, padding=1), ReLU(), MaxPool2d(2)],
        [ConvActivation] * 2,
    ),
    "conv-norm-gelu": (lambda: [Conv2d(16, 3), _norm(), GELU()], [ConvNorm]),
    "conv-norm-elu-pool": (lambda: [Conv2d(16, 3), _norm(), ELU(0.7), MaxPool2d(2)], [ConvNorm]),
    "conv-norm-sigmoid-pool": (lambda: [Conv2d(16, 3), _norm(), Sigmoid(), MaxPool2d(2)], [ConvNorm]),
    "conv-norm-silu-conv-norm-leaky": (
        lambda: [Conv2d(16, 3, padding=1), _norm(), SiLU(), Conv2d(17, 3), _norm(), LeakyReLU(0.2)],
        [ConvNorm, ConvNorm],
    ),
    "residual-gelu": (lambda: [_block(20, 2, GELU), GELU(), _block(20, 1, GELU), GELU()], [ResidualActivation] * 2),
    "derived-class": (lambda: [MyConv(16), ReLU()], [ConvActivation]),
    "derived-class-that-computes": (lambda: [Doubling(16, 3), ReLU()], [Single, Single]),
    "derived-block": (
        lambda: [MyBlock(Sequential(MyConv(16), Conv2d(16, 3, padding=2), _norm())), ReLU()],
        [ResidualActivation],
    ),
    "derived-block-that-computes": (
        lambda: [HalvedBlock(Sequential(Conv2d(16, 3, padding=1), _norm())), ReLU()],
        [Single, Single],
    ),
    "residual-with-activation-inside": (
        lambda: [Residual(Sequential(Conv2d(16, 3, padding=1), _norm(), ReLU())), ReLU()],
        [Single, Single],
    ),
    "residual-of-a-layer": (lambda: [Residual(Conv2d(16, 3, padding=1)), ReLU()], [Single, Single]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_found(name: str) -> None:
    layers, expected = PATTERNS[name][0](), PATTERNS[name][1]
    steps = find_steps(layers, {"conv2d_backward_input_norm": ALL_NATIVE})
    assert [type(step) for step in steps] == expected
    assert [layer for step in steps for layer in step.layers] == layers


def run_one_by_one(model: Sequential) -> None:
    """Run every layer as it is."""
    for layer in model.walk():
        if isinstance(layer, Sequential):
            layer._plan = Plan(layer.layers, tuple(Single(layer=child) for child in layer.layers))


def _build(name: str, dtype: str = "float64") -> Sequential:
    return Sequential(*PATTERNS[name][0]()).build((9, 8, 16), dtype, seed=3)


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


def _of_few(name: str) -> bool:
    """Tell whether it is of kernels that the default suite compiles for other tests too."""
    return {"silu", "gelu", "leaky", "elu", "sigmoid", "tanh", "pool"}.isdisjoint(name.split("-"))


def _on_backends(names: Iterable[str]) -> list[Any]:
    """Return backends of the CPU with these names as parameters; what takes long to compile is of the slow suite."""
    return [
        pytest.param(backend, name, marks=() if backend == "numpy" or _of_few(name) else pytest.mark.slow)
        for backend in CPU_BACKENDS
        for name in names
    ]


@pytest.mark.parametrize("needs", [True, False], ids=["grad-of-input", "no-grad-of-input"])
@pytest.mark.parametrize(("backend", "name"), _on_backends(PATTERNS), indirect=["backend"])
def test_fused_is_what_the_layers_give(name: str, needs: bool, backend, rng: np.random.Generator) -> None:
    dtype = "float64" if backend.name == "numpy" else "float32"
    fused, plain = _build(name, dtype), _build(name, dtype)
    run_one_by_one(plain)
    x = rng.standard_normal((3, 9, 8, 16)).astype(dtype)
    grad = rng.standard_normal((3, *fused.infer((9, 8, 16)))).astype(dtype)
    before = grad.copy()
    got, expected = _run(fused, x, grad, needs), _run(plain, x, grad, needs)
    assert got.keys() == expected.keys()
    most = 1e-9 if dtype == "float64" else 5e-5
    for key, value in expected.items():
        if value is None:
            assert got[key] is None
        else:
            np.testing.assert_allclose(got[key], value, rtol=most, atol=most * max(1, np.abs(value).max()), err_msg=key)
    np.testing.assert_array_equal(grad, before)  # the caller's array is not written to


NAMED = (
    *("conv-relu", "conv-relu-without-bias", "conv-relu-pool", "conv-relu-conv-relu-pool", "three-convs-without-bias"),
    *("conv-norm", "conv-norm-relu", "conv-norm-relu-pool", "conv-norm-relu-conv-relu", "conv-norm-relu-plain-conv"),
    *("conv-norm-relu-conv-relu-pool", "conv-norm-relu-conv-norm", "conv-norm-relu-pool-conv-relu"),
    *("residual", "residual-with-shortcut", "residual-of-a-pooling", "residual-of-a-conv", "nested"),
    *("residual-behind-conv-norm-relu", "residual-that-opens-with-a-plain-conv", "depthwise"),
    *("conv-pool-norm", "conv-pool-norm-gelu-conv-norm-gelu", "conv-gelu-conv-pool-norm-relu-pool"),
    *("conv-norm-gelu-conv-pool-norm-silu", "residual-that-opens-with-a-pooling-before-a-norm"),
    *("conv-gelu-conv-silu-conv-leaky-pool", "conv-norm-elu-pool", "conv-norm-silu-conv-norm-leaky", "residual-gelu"),
)


def _parts(operation: str, given: tuple[object, ...], more: dict[str, object]) -> str:
    """Return an operation with all that it is asked to do beside, as steps name it."""
    epilogue = next((each for each in given if isinstance(each, Epilogue)), Epilogue())
    activation = next((each for each in given if isinstance(each, Activation)), more.get("activation"))
    activation = activation or epilogue.activation
    adds = epilogue.adds if operation in ("conv2d", "normalise", "batch_norm_backward") else False
    if operation == "conv2d_backward_input" and activation is None:
        adds = more["addend"] is not None
    pools = epilogue.windows is not None or (operation == NormEnding.operation and more.get("windows") is not None)
    names = ["add"] * adds + ([activation.name] if activation else []) + ["max_pool2d"] * pools
    return " + ".join((operation, *names))


@pytest.mark.parametrize(("backend", "name"), _on_backends(NAMED), indirect=["backend"])
def test_steps_call_the_operations_that_they_name(name, backend, monkeypatch, rng) -> None:
    """The lists that `explain` shows are the calls that are made, each as often, of all that there is to fuse."""
    model, called = _build(name, "float32"), []
    steps = list(all_steps(model))  # those inside of others too
    forward = [operation for step in steps for operation in step.forward_operations]
    backward = [operation for step in steps for operation in step.backward_operations]
    depth = 0  # a fusion may be composed of others
    for operation in FUSED | {"activate_backward"}:
        real = getattr(backend, operation)

        def spy(*args, _real=real, _name=operation, **more):
            nonlocal depth
            if not depth:
                called.append(_parts(_name, args, more))
            depth += 1
            try:
                return _real(*args, **more)
            finally:
                depth -= 1

        monkeypatch.setattr(backend, operation, spy)
    y, context = model.forward(fc.asarray(rng.standard_normal((2, 9, 8, 16)).astype("float32")), training=True)
    alone = ("conv2d", "conv2d_backward_input")  # of a layer, or with nothing beside
    assert sorted(each for each in called if each not in alone) == sorted(forward)
    called.clear()
    model.backward(fc.asarray(np.ones(y.shape, "float32")), context)
    assert sorted(each for each in called if each not in alone) == sorted(backward)


def test_empty_batch_in_training_says_so() -> None:
    model = _build("conv-norm-relu")
    with pytest.raises(fc.errors.ShapeError, match="at least one image"):
        model.forward(np.empty((0, 9, 8, 16)), training=True)
