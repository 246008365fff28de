"""Which kernel and which fusion each layer gets, and why: `fastconv.explain`.

One training step is run on a copy of the model with random data, and what is launched is written down, so the answer is
what happens, not what ought to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.nn.containers.branches import Sequential
from fastconv.nn.core.layer import Layer
from fastconv.nn.fused.steps import Step, kept_dtype
from fastconv.nn.layers.conv import Conv2d
from fastconv.precision import get_precision

_CONTAINERS = ("Sequential", "Residual", "Parallel")


@dataclass
class Row:
    """One layer, or several that run as one.

    Attributes
    ----------
    names : tuple of str
        Paths of the layers: ``("0", "1", "2")``.
    kinds : tuple of str
        Their classes.
    operations : tuple of str
        The fused operations of the backend; none if a layer runs on its own.
    forward, backward : list of str
        The kernels launched, in order, in training.
    reasons : tuple of str
        Why a convolution's kernels were chosen, forward and backward.
    kept : tuple of str
        Which of its arrays are stored as bfloat16 in training: "output", "convolution and its gradient".
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    operations: tuple[str, ...]
    forward: list[str] = field(default_factory=list)
    backward: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns; ``print`` it."""

    backend: str
    precision: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        lines = [f"input {self.input_shape}, backend {self.backend}, precision {self.precision}"]
        for row in self.rows:
            lines.append(f"{', '.join(row.names) or '.'}: {' + '.join(row.kinds)}")
            if row.operations:
                lines.append(f"    fused:    {', '.join(row.operations)}")
            lines += [f"    because:  {reason}" for reason in row.reasons]
            if row.kept:
                lines.append(f"    bfloat16: {', '.join(row.kept)}")
            for label, kernels in (("forward: ", row.forward), ("backward:", row.backward)):
                if kernels:
                    lines.append(f"    {label} {', '.join(kernels)}")
        return "\n".join(lines)

    __repr__ = __str__


def explain(model: Layer, input_shape: Sequence[int]) -> Explanation:
    """Tell which kernels each layer of a built model gets, and what is fused.

    Parameters
    ----------
    model : Layer
        Its weights, gradients and running statistics stay as they are.
    input_shape : (N, H, W, C) or (N, C)
        Of a batch: choices depend on it.

    Returns
    -------
    An object to print; its `rows` hold the same as lists.
    """
    backend = model.backend
    shape = validate.sizes(input_shape, "input_shape", "a batch of at least one, (N, ...)")
    model.check_size(shape, "input_shape")
    model = copy.deepcopy(model)  # which has no gradients: the first are written, not added
    rows: list[Row] = []
    launched: list[str] = []
    _watch(model, dict(_paths(model)), rows, launched)
    x = backend.asarray(np.random.default_rng(0).standard_normal(shape), model.dtype)
    with backend.trace(launched.append):
        y, context = model.forward(x, training=True)
        model.backward(backend.asarray(np.ones(y.shape), model.dtype), context, needs_input_grad=False)
    # A container that only passes on has nothing to tell.
    shown = [row for row in rows if row.forward or row.backward or row.kinds[0] not in _CONTAINERS]
    return Explanation(backend.name, get_precision(), shape, tuple(shown))


def _paths(model: Layer, path: str = "") -> Iterator[tuple[int, str]]:
    yield id(model), path
    for name, child in model.children():
        yield from _paths(child, f"{path}.{name}" if path else name)


def _watch(model: Layer, paths: dict[int, str], rows: list[Row], launched: list[str]) -> None:
    """Let every step of `model` write its row; what is launched belongs to the innermost step that runs."""
    if not isinstance(model, Sequential):
        model = Sequential(model)
    open_rows: list[list[str]] = []

    def collect() -> None:
        if open_rows:
            open_rows[-1].extend(launched)
        launched.clear()

    def watched(function: Callable[..., Any], target: list[str]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            collect()
            open_rows.append(target)
            try:
                return function(*arguments, **more)
            finally:
                collect()
                open_rows.pop()

        return run

    for step in _steps(model):
        row = Row(
            tuple(paths.get(id(layer), "") for layer in step.layers),
            tuple(type(layer).__name__ for layer in step.layers),
            (*step.forward_operations, *step.backward_operations),
            kept=step.kept if kept_dtype(step.layers[0]) != step.layers[0].dtype else (),
        )
        rows.append(row)
        if step.convolution is not None:
            _explain_choice(step.convolution, row)
        step.forward = watched(step.forward, row.forward)  # type: ignore[method-assign]
        step.backward = watched(step.backward, row.backward)  # type: ignore[method-assign]


def _steps(part: Layer | Step) -> Iterator[Step]:
    """Yield the steps in `part`, each behind those that run inside of it."""
    if isinstance(part, Step):
        for inner in part.inside():
            yield from _steps(inner)
        yield part
    elif isinstance(part, Sequential):
        for step in part.steps:
            yield from _steps(step)
    else:
        for _, child in part.children():
            yield from _steps(child)


def _explain_choice(conv: Conv2d, row: Row) -> None:
    """Note why its kernels were chosen when the convolution first meets an input."""
    original = conv.checked_input

    def checked_input(x: Any, **more: Any) -> Any:
        x = original(x, **more)
        if not row.reasons:
            row.reasons = tuple(conv.why(x.shape))
        return x

    conv.checked_input = checked_input  # type: ignore[method-assign]
