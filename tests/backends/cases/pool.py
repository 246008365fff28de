"""Cases of pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastconv.kernels.geometry import Padding, Pair, PoolWindows
from tests.backends.cases.conv import pad
from tests.backends.op_case import Arrays, Case, exact


@dataclass(frozen=True)
class Pool:
    id: str
    n: int
    size: Pair
    c: int
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil: bool = False

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.n, *self.size, self.c)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.n, *self.windows().output_size(*self.size), self.c)

    def windows(self, *, count_include_pad: bool = True) -> PoolWindows:
        return PoolWindows(self.kernel, self.stride, self.padding, self.dilation, self.ceil, count_include_pad)


BOTH = [
    Pool("2x2-c64", 2, (8, 8), 64),
    Pool("2x2-c16-4x4", 5, (4, 4), 16),
    Pool("2x2-c17-odd", 2, (7, 5), 17),
    Pool("2x2-c3-ceil", 2, (7, 5), 3, ceil=True),
    Pool("3x3-stride2-pad1", 2, (8, 7), 33, (3, 3), (2, 2), pad(1, 1)),
    Pool("3x3-stride2-ceil-pad1", 1, (8, 8), 15, (3, 3), (2, 2), pad(1, 1), ceil=True),
    Pool("3x3-stride1", 1, (5, 7), 31, (3, 3), (1, 1), pad(1, 1)),
    Pool("3x3-stride3-gap", 1, (8, 8), 8, (2, 2), (3, 3)),
    Pool("3x2-stride-1x3", 2, (7, 8), 7, (3, 2), (1, 3), pad(1, 1)),
    Pool("pad-asymmetric", 2, (5, 5), 16, (3, 4), (2, 2), ((1, 0), (0, 2))),
    Pool("ceil-last-window-starts-on-pad", 1, (3, 3), 8, (3, 3), (3, 3), pad(1, 1), ceil=True),
    Pool("ceil-drops-window", 1, (2, 2), 4, (1, 1), (2, 2), ceil=True),
    Pool("ceil-exceeds-map", 1, (3, 4), 5, (4, 5), (2, 2), pad(0, 0), ceil=True),
    Pool("1x1", 1, (3, 3), 65, (1, 1), (1, 1)),
    Pool("global-4x4", 3, (4, 4), 48, (4, 4), (4, 4)),
    Pool("global-7x5", 2, (7, 5), 33, (7, 5), (7, 5)),
    Pool("global-17x16-int32", 1, (17, 16), 3, (17, 16), (17, 16)),
    Pool("window-256-cells", 1, (16, 16), 7, (16, 16), (16, 16)),
    Pool("c1", 2, (4, 6), 1),
    Pool("empty-batch", 0, (4, 4), 16),
]
DILATED = [
    Pool("dilation2", 2, (8, 7), 16, (3, 3), (1, 1), pad(2, 2), (2, 2)),
    Pool("dilation-1x3-stride2", 1, (7, 15), 17, (2, 3), (2, 2), pad(0, 3), (1, 3)),
    Pool("dilation2-ceil", 1, (8, 8), 8, (2, 2), (3, 3), pad(1, 1), (2, 2), ceil=True),
    Pool("dilation4-window-outside", 2, (1, 3), 5, (2, 2), (1, 1), pad(2, 2), (4, 4)),
]


def _index(p: Pool) -> type:
    return np.uint8 if p.kernel[0] * p.kernel[1] <= 256 else np.int32


def _special(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat = x.reshape(-1)
    for value in (np.nan, np.inf, -np.inf, -0.0):
        flat[rng.integers(0, max(flat.size, 1), flat.size // 6)] = value
    return x


def max_pool(p: Pool, kind: str = "") -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        if kind == "ties":
            return {"x": rng.integers(-1, 2, p.x_shape).astype(np.float64)}
        if kind == "all-minus-inf":
            return {"x": np.full(p.x_shape, -np.inf)}
        x = rng.standard_normal(p.x_shape)
        return {"x": _special(x, rng) if kind == "special" else x}

    def call(backend, i, o, workspace):
        backend.max_pool2d(i["x"], windows=p.windows(), out=o["y"], argmax=o["argmax"])

    outputs = {"y": p.y_shape, "argmax": (p.y_shape, _index(p))}
    return Case("max_pool2d", f"{p.id}-{kind}" if kind else p.id, inputs, outputs, call, magnitude=exact)


def max_pool_backward(p: Pool) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        cells = p.kernel[0] * p.kernel[1]
        argmax = rng.integers(0, cells, p.y_shape).astype(_index(p))
        return {"grad_output": rng.standard_normal(p.y_shape), "argmax": argmax}

    def call(backend, i, o, workspace):
        backend.max_pool2d_backward(i["grad_output"], i["argmax"], windows=p.windows(), out=o["grad_input"])

    terms = p.kernel[0] * p.kernel[1]
    return Case("max_pool2d_backward", p.id, inputs, {"grad_input": p.x_shape}, call, terms=terms)


def avg_pool(p: Pool, count_include_pad: bool) -> list[Case]:
    windows = p.windows(count_include_pad=count_include_pad)

    def forward(backend, i, o, workspace):
        backend.avg_pool2d(i["x"], windows=windows, out=o["y"])

    def backward(backend, i, o, workspace):
        backend.avg_pool2d_backward(i["grad_output"], windows=windows, out=o["grad_input"])

    name = f"{p.id}-{'count-pad' if count_include_pad else 'count-inside'}"
    terms = p.kernel[0] * p.kernel[1]
    made = {"x": p.x_shape, "grad_output": p.y_shape}
    x, g = (lambda rng, key=key: {key: rng.standard_normal(made[key])} for key in made)
    return [
        Case("avg_pool2d", name, x, {"y": p.y_shape}, forward, terms=terms),
        Case("avg_pool2d_backward", name, g, {"grad_input": p.x_shape}, backward, terms=terms),
    ]


CASES = [
    *(max_pool(p) for p in BOTH + DILATED),
    *(max_pool(p, kind) for kind in ("ties", "special", "all-minus-inf") for p in BOTH[2:6] + DILATED[:2]),
    *(max_pool_backward(p) for p in BOTH + DILATED),
    *(case for p in BOTH for include in (True, False) for case in avg_pool(p, include)),
]
