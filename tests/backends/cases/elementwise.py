"""Cases of the operations that add, scale or move data."""

from __future__ import annotations

import numpy as np

from tests.backends.op_case import Arrays, Case, exact

SHAPES = {
    "one": (1,),
    "below-tile": (7,),
    "tile": (16,),
    "above-tile": (17,),
    "matrix": (3, 33),
    "map": (2, 5, 7, 17),
    "round": (2, 8, 8, 64),
    "empty": (0, 4, 4, 8),
}


def _given(shape: tuple[int, ...], *names: str):
    return lambda rng: {name: 2 * rng.standard_normal(shape) for name in names}


def _two(op: str, name: str, shape: tuple[int, ...], alias: str | None) -> Case:
    def call(backend, i, o, workspace):
        backend.add(i["a"], i["b"], out=i[alias] if alias else o["y"])

    outputs = {} if alias else {"y": shape}
    updated = (alias,) if alias else ()
    return Case(op, name, _given(shape, "a", "b"), outputs, call, updated=updated)


def _one(op: str, name: str, shape: tuple[int, ...], alias: bool = False, **arguments: float) -> Case:
    def call(backend, i, o, workspace):
        getattr(backend, op)(i["x"], **arguments, out=i["x"] if alias else o["y"])

    outputs = {} if alias else {"y": shape}
    updated = ("x",) if alias else ()
    magnitude = exact if op == "copy" else lambda i, o: {name: np.abs(value) for name, value in o.items()}
    return Case(op, name, _given(shape, "x"), outputs, call, updated=updated, magnitude=magnitude)


def _squares(name: str, shape: tuple[int, ...]) -> Case:
    def call(backend, i, o, workspace):
        backend.sum_squares(i["x"], out=o["squares"], workspace=workspace)

    outputs = {"squares": ((1,), np.float64)}
    size = 80 * np.finfo(np.float32).eps / np.finfo(np.float64).eps  # of float32 squares in a float64 sum
    return Case(
        "sum_squares", name, _given(shape, "x"), outputs, call, magnitude=lambda i, o: {"squares": size * o["squares"]}
    )


def _norm(name: str, shape: tuple[int, ...], *squares: float, alias: bool = False, limit: float = 2.0) -> Case:
    def call(backend, i, o, workspace):
        backend.clip_norm(i["x"], i["squares"], limit=limit, out=i["x"] if alias else o["y"])

    return Case(
        "clip_norm",
        name,
        lambda rng: {**_given(shape, "x")(rng), "squares": np.array(squares)},
        {} if alias else {"y": shape},
        call,
        updated=("x",) if alias else (),
        fixed=("squares",),
        magnitude=lambda i, o: {key: np.abs(value) for key, value in o.items()},
    )


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
        Case("split", name, _given(whole, "x"), shapes, split, magnitude=exact),
    ]


def _subsample(name: str, shape: tuple[int, ...], stride: tuple[int, int], before: int, after: int) -> list[Case]:
    n, h, w, c = shape
    out = (n, -(-h // stride[0]), -(-w // stride[1]), before + c + after)

    def forward(backend, i, o, workspace):
        backend.subsample_pad(i["x"], stride=stride, before=before, out=o["y"])

    def backward(backend, i, o, workspace):
        backend.subsample_pad_backward(i["grad_output"], stride=stride, before=before, out=o["grad_input"])

    return [
        Case("subsample_pad", name, _given(shape, "x"), {"y": out}, forward, magnitude=exact),
        Case(
            "subsample_pad_backward",
            name,
            _given(out, "grad_output"),
            {"grad_input": shape},
            backward,
            magnitude=exact,
        ),
    ]


CASES = [
    *(_two("add", name, shape, None) for name, shape in SHAPES.items()),
    *(_two("add", f"into-{alias}", (3, 5, 5, 17), alias) for alias in "ab"),
    *(_one("scale", name, shape, factor=-0.3) for name, shape in SHAPES.items()),
    _one("scale", "in-place", (3, 5, 5, 17), alias=True, factor=1 / 3),
    *(_one("clip", name, shape, limit=0.7) for name, shape in SHAPES.items()),
    _one("clip", "in-place", (3, 5, 5, 17), alias=True, limit=1.5),
    *(_squares(name, shape) for name, shape in (*SHAPES.items(), ("chunks", (3, 70, 299)))),
    *(_norm(name, shape, 3.0, 1.5, 4.0) for name, shape in SHAPES.items()),
    _norm("within", (3, 33), 3.9),
    _norm("other-limit", (17,), 9.0, limit=0.5),
    _norm("in-place", (3, 5, 5, 17), 40.0, alias=True),
    _norm("infinite", (33,), 1.0, np.inf),
    _norm("not-a-number", (33,), np.nan),
    _norm("zero", (5,), 0.0),
    *(_one("copy", name, shape) for name, shape in SHAPES.items()),
    *(_fill(name, shape) for name, shape in SHAPES.items()),
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
