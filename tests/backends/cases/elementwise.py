"""Cases of activations and of the operations that add, scale or move data."""

from __future__ import annotations

import numpy as np

from tests.backends.op_case import Arrays, Case, exact

_SHAPES = {
    "one": (1,),
    "below-tile": (7,),
    "tile": (16,),
    "above-tile": (17,),
    "matrix": (3, 33),
    "map": (2, 5, 7, 17),
    "round": (2, 8, 8, 64),
    "empty": (0, 4, 4, 8),
}
# Zeros, small numbers, the ends of exp's range in both types, and beyond.
_EXTREME = [0.0, -0.0, 1e-30, -1e-30, 1e-8, -1e-8, 1, -1, 20, -20, 89, -89, 110, -110, 720, -720, 1e4, -1e4, np.nan]
_INFINITE = [*_EXTREME, np.inf, -np.inf]
# Subnormals may be flushed; a function that jumps at 0 must not be asked about them.
_TINY = [1e-40, -1e-40, 1e-310, -1e-310]


def _given(shape: tuple[int, ...], values: list[float] | None, *names: str):
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {name: 2 * rng.standard_normal(shape) for name in names}
        if values is not None:
            made[names[-1]] = np.array(values)
        return made

    return inputs


def _activation(op: str, magnitude, *, special: list[float], suffix: str = "", **arguments: float) -> list[Case]:
    def call(backend, i, o, workspace):
        getattr(backend, op)(i["x"], **arguments, out=o["y"])

    shapes = {name: (shape, None) for name, shape in _SHAPES.items()} | {"extreme": ((len(special),), special)}
    return [
        Case(
            op,
            name + suffix,
            _given(shape, values, "x"),
            {"y": shape},
            call,
            magnitude=lambda i, o: {"y": magnitude(i, o)},
        )
        for name, (shape, values) in shapes.items()
    ]


def _gradient(
    op: str, saved: str, magnitude, *, special: list[float], suffix: str = "", **arguments: float
) -> list[Case]:
    def call(backend, i, o, workspace):
        getattr(backend, op)(i["grad_output"], i[saved], **arguments, out=o["grad_input"])

    shapes = {name: (shape, None) for name, shape in _SHAPES.items()} | {"extreme": ((len(special),), special)}
    return [
        Case(
            op,
            name + suffix,
            _given(shape, values, "grad_output", saved),
            {"grad_input": shape},
            call,
            magnitude=lambda i, o: {"grad_input": magnitude(i, o)},
        )
        for name, (shape, values) in shapes.items()
    ]


def _size(name: str):
    return lambda i, o: np.abs(i[name] if name in i else o[name])


# Results of sigmoid and tanh: what their gradients take.
_OUTPUTS = [0.0, 1e-30, 1e-8, 0.25, 0.5, 1 - 2.0**-20, 1.0, np.nan]

ACTIVATIONS = [
    *_activation("relu", _size("y"), special=_INFINITE + _TINY),
    *_gradient("relu_backward", "y", lambda i, o: 0, special=_INFINITE),
    *_activation("leaky_relu", _size("y"), special=_INFINITE + _TINY, slope=0.01),
    *_gradient("leaky_relu_backward", "x", _size("grad_input"), special=_INFINITE, slope=0.01),
    _activation("leaky_relu", _size("y"), special=_INFINITE, suffix="-steeper", slope=0.3)[-1],
    _gradient("leaky_relu_backward", "x", _size("grad_input"), special=_INFINITE, suffix="-steeper", slope=0.3)[-1],
    _activation("elu", lambda i, o: np.abs(o["y"]) + 0.5, special=_INFINITE, suffix="-half", alpha=0.5)[-1],
    _gradient("elu_backward", "x", _size("grad_input"), special=_EXTREME, suffix="-half", alpha=0.5)[-1],
    *_activation("elu", lambda i, o: np.abs(o["y"]) + 1.5, special=_INFINITE + _TINY, alpha=1.5),
    *_gradient("elu_backward", "x", _size("grad_input"), special=_EXTREME, alpha=1.5),
    *_activation("gelu", _size("x"), special=_EXTREME + _TINY),
    *_gradient("gelu_backward", "x", lambda i, o: np.abs(i["grad_output"]) * (1 + np.abs(i["x"])), special=_EXTREME),
    *_activation("silu", _size("y"), special=_EXTREME + _TINY),
    *_gradient("silu_backward", "x", lambda i, o: np.abs(i["grad_output"]) * (1 + np.abs(i["x"])), special=_EXTREME),
    *_activation("sigmoid", _size("y"), special=_INFINITE + _TINY),
    *_gradient(
        "sigmoid_backward", "y", lambda i, o: np.abs(i["grad_output"] * i["y"]) * (1 + np.abs(i["y"])), special=_OUTPUTS
    ),
    *_activation("tanh", lambda i, o: np.ones_like(o["y"]), special=_INFINITE + _TINY),
    *_gradient("tanh_backward", "y", lambda i, o: np.abs(i["grad_output"]) * (1 + i["y"] ** 2), special=_OUTPUTS),
]


def _two(op: str, name: str, shape: tuple[int, ...], alias: str | None) -> Case:
    def call(backend, i, o, workspace):
        backend.add(i["a"], i["b"], out=i[alias] if alias else o["y"])

    outputs = {} if alias else {"y": shape}
    updated = (alias,) if alias else ()
    return Case(op, name, _given(shape, None, "a", "b"), outputs, call, updated=updated)


def _one(op: str, name: str, shape: tuple[int, ...], alias: bool = False, **arguments: float) -> Case:
    def call(backend, i, o, workspace):
        getattr(backend, op)(i["x"], **arguments, out=i["x"] if alias else o["y"])

    outputs = {} if alias else {"y": shape}
    updated = ("x",) if alias else ()
    magnitude = exact if op == "copy" else lambda i, o: {name: np.abs(value) for name, value in o.items()}
    return Case(op, name, _given(shape, None, "x"), outputs, call, updated=updated, magnitude=magnitude)


def _fill(name: str, shape: tuple[int, ...]) -> Case:
    def call(backend, i, o, workspace):
        backend.fill(-2.5, out=o["y"])

    return Case("fill", name, lambda rng: {}, {"y": shape}, call, magnitude=exact)


def _joined(name: str, rows: tuple[int, ...], widths: tuple[int, ...]) -> list[Case]:
    whole = (*rows, sum(widths))
    shapes = {f"part{n}": (*rows, width) for n, width in enumerate(widths)}

    def concatenate(backend, i, o, workspace):
        backend.concatenate([i[part] for part in shapes], out=o["y"])

    def split(backend, i, o, workspace):
        backend.split(i["x"], outs=[o[part] for part in shapes])

    def parts(rng: np.random.Generator) -> Arrays:
        return {part: rng.standard_normal(shape) for part, shape in shapes.items()}

    return [
        Case("concatenate", name, parts, {"y": whole}, concatenate, magnitude=exact),
        Case("split", name, _given(whole, None, "x"), shapes, split, magnitude=exact),
    ]


def _subsample(name: str, shape: tuple[int, ...], stride: tuple[int, int], before: int, after: int) -> list[Case]:
    n, h, w, c = shape
    out = (n, -(-h // stride[0]), -(-w // stride[1]), before + c + after)

    def forward(backend, i, o, workspace):
        backend.subsample_pad(i["x"], stride=stride, before=before, out=o["y"])

    def backward(backend, i, o, workspace):
        backend.subsample_pad_backward(i["grad_output"], stride=stride, before=before, out=o["grad_input"])

    return [
        Case("subsample_pad", name, _given(shape, None, "x"), {"y": out}, forward, magnitude=exact),
        Case(
            "subsample_pad_backward",
            name,
            _given(out, None, "grad_output"),
            {"grad_input": shape},
            backward,
            magnitude=exact,
        ),
    ]


MOVING = [
    *(_two("add", name, shape, None) for name, shape in _SHAPES.items()),
    *(_two("add", f"into-{alias}", (3, 5, 5, 17), alias) for alias in "ab"),
    *(_one("scale", name, shape, factor=-0.3) for name, shape in _SHAPES.items()),
    _one("scale", "in-place", (3, 5, 5, 17), alias=True, factor=1 / 3),
    *(_one("copy", name, shape) for name, shape in _SHAPES.items()),
    *(_fill(name, shape) for name, shape in _SHAPES.items()),
    *_joined("two", (2, 3, 3), (16, 17)),
    *_joined("four-ragged", (2, 5, 4), (1, 33, 7, 8)),
    *_joined("matrix", (5,), (3, 10)),
    *_joined("one", (2, 2, 2), (5,)),
    *_joined("empty-batch", (0, 4, 4), (8, 8)),
    *_subsample("resnet", (2, 8, 8, 16), (2, 2), 8, 8),
    *_subsample("odd", (2, 7, 5, 3), (2, 2), 1, 2),
    *_subsample("stride-3x1", (1, 8, 4, 17), (3, 1), 0, 5),
    *_subsample("no-op", (1, 3, 3, 7), (1, 1), 0, 0),
    *_subsample("empty-batch", (0, 4, 4, 8), (2, 2), 4, 4),
]

CASES = ACTIVATIONS + MOVING
