"""Cases of the pointwise functions: all of the list in kernels/pointwise.py, each with the bound of its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.kernels.pointwise import POINTWISE, Activation
from tests.backends.cases.elementwise import SHAPES
from tests.backends.op_case import Arrays, Case

# Zeros, small numbers, the ends of exp's range in both types, and beyond.
EXTREME = [0.0, -0.0, 1e-30, -1e-30, 1e-8, -1e-8, 1, -1, 20, -20, 89, -89, 110, -110, 720, -720, 1e4, -1e4, np.nan]
INFINITE = [*EXTREME, np.inf, -np.inf]
# Subnormals may be flushed; a function that jumps at 0 must not be asked about them.
TINY = [1e-40, -1e-40, 1e-310, -1e-310]
HUGE = [1e38, -1e38]
# Results of sigmoid and tanh: what their gradients take.
OUTPUTS = [0.0, 1e-30, 1e-8, 0.25, 0.5, 1 - 2.0**-20, 1.0, np.nan]

Magnitude = Callable[[Arrays, Arrays], Any]


@dataclass(frozen=True)
class Held:
    """How a function is held to the reference.

    Attributes
    ----------
    forward, gradient : magnitude of which a result may be off by a few roundings, of inputs x, grad_output and x, or
        grad_output and y, and of the expected results y and grad_input
    at, gradient_at : values of x, or of what the gradient takes, beside those that are drawn
    values : of the parameters, a first choice for all shapes and others for the values above
    """

    forward: Magnitude
    gradient: Magnitude
    at: list[float]
    gradient_at: list[float]
    values: tuple[tuple[float, ...], ...] = ((),)


def size(name: str) -> Magnitude:
    """Return a bound relative to an array."""
    return lambda i, o: np.abs(i[name] if name in i else o[name])


def steep(i: Arrays, o: Arrays) -> Any:
    """Where a slope is a sum of which one term grows with x."""
    return np.abs(i["grad_output"]) * (1 + np.abs(i["x"]))


HELD = {
    "relu": Held(size("y"), lambda i, o: 0, INFINITE + TINY, INFINITE),
    "leaky_relu": Held(size("y"), size("grad_input"), INFINITE + TINY, INFINITE, ((0.01,), (0.3,))),
    "elu": Held(lambda i, o: np.abs(o["y"]) + 1.5, size("grad_input"), INFINITE + TINY, EXTREME, ((1.5,), (0.5,))),
    "gelu": Held(size("x"), steep, EXTREME + TINY, EXTREME),
    "silu": Held(size("y"), steep, EXTREME + TINY, EXTREME),
    "sigmoid": Held(
        size("y"), lambda i, o: np.abs(i["grad_output"] * i["y"]) * (1 + np.abs(i["y"])), INFINITE + TINY, OUTPUTS
    ),
    "tanh": Held(
        lambda i, o: np.ones_like(o["y"]),
        lambda i, o: np.abs(i["grad_output"]) * (1 + i["y"] ** 2),
        INFINITE + TINY,
        OUTPUTS,
    ),
    "mish": Held(size("x"), steep, EXTREME + TINY + HUGE, EXTREME + HUGE),
    # The logistic function is off by a few roundings, and by |z| of them where z = beta * x is rounded.
    "softplus": Held(
        lambda i, o: np.abs(o["y"]) + 1,
        size("grad_output"),
        INFINITE + TINY + HUGE,
        INFINITE + HUGE,
        ((1.0, 20.0), (0.3, 5.0)),
    ),
    # x + 3 is exact near -3; the slope is a sum of terms of at most 1 and 1/2.
    "hardswish": Held(size("y"), lambda i, o: 2 * np.abs(i["grad_output"]), INFINITE + TINY + HUGE, [*INFINITE, 3, -3]),
}


def _given(shape: tuple[int, ...], values: list[float] | None, *names: str):
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {name: 2 * rng.standard_normal(shape) for name in names}
        if values is not None:
            made[names[-1]] = np.array(values)
        return made

    return inputs


def forward(activation: Activation, name: str, shape: tuple[int, ...], values: list[float] | None = None) -> Case:
    """Return a case of a function, on drawn numbers or on `values`."""

    def call(backend, i, o, workspace):
        backend.activate(activation, i["x"], out=o["y"])

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        return {"y": HELD[activation.name].forward(i, o)}

    inputs = _given(shape, values, "x")
    return Case("activate", f"{activation.name}-{name}", inputs, {"y": shape}, call, magnitude=magnitude)


def gradient(activation: Activation, name: str, shape: tuple[int, ...], values: list[float] | None = None) -> Case:
    """Return a case of its gradient; `values` are those of what it takes beside grad_output."""
    saved = activation.function.needs

    def call(backend, i, o, workspace):
        backend.activate_backward(activation, i["grad_output"], i[saved], out=o["grad_input"])

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        return {"grad_input": HELD[activation.name].gradient(i, o)}

    inputs, outputs = _given(shape, values, "grad_output", saved), {"grad_input": shape}
    return Case("activate_backward", f"{activation.name}-{name}", inputs, outputs, call, magnitude=magnitude)


def _in_place(activation: Activation) -> list[Case]:
    shape, saved = (3, 5, 5, 17), activation.function.needs
    inputs = _given(shape, None, "grad_output", saved)

    def call(backend, i, o, workspace):
        backend.activate(activation, i["x"], out=i["x"])

    def call_gradient(backend, i, o, workspace):
        backend.activate_backward(activation, i["grad_output"], i[saved], out=i["grad_output"])

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        return {"x": HELD[activation.name].forward(i, {"y": o["x"]})}

    def magnitude_of_gradient(i: Arrays, o: Arrays) -> Arrays:
        return {"grad_output": HELD[activation.name].gradient(i, {"grad_input": o["grad_output"]})}

    of, x = f"{activation.name}-in-place", _given(shape, None, "x")
    return [
        Case("activate", of, x, {}, call, updated=("x",), magnitude=magnitude),
        Case(
            *("activate_backward", of, inputs, {}, call_gradient),
            updated=("grad_output",),
            magnitude=magnitude_of_gradient,
        ),
    ]


def _of(name: str) -> list[Case]:
    held, function = HELD[name], POINTWISE[name]
    first, *others = (function(*values) for values in held.values)
    cases = [make(first, key, shape) for make in (forward, gradient) for key, shape in SHAPES.items()]
    cases += _in_place(first)
    for number, activation in enumerate((first, *others)):
        key = f"extreme-{number}" if number else "extreme"
        at = [x for x in held.at if x not in TINY] if number else held.at
        cases.append(forward(activation, key, (len(at),), at))
        cases.append(gradient(activation, key, (len(held.gradient_at),), held.gradient_at))
    return cases


CASES = [case for name in POINTWISE for case in _of(name)]
