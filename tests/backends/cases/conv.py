"""Cases of convolution and dense layers: shapes below, on and above the vector tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import PrecisionChoice
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.geometry import ConvGeometry, Padding, Pair
from tests.backends.op_case import Arrays, Case


@dataclass(frozen=True)
class Conv:
    id: str
    n: int
    size: Pair
    c: int
    k: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Padding = ((1, 1), (1, 1))
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True
    precision: PrecisionChoice = "default"
    infinite: bool = False  # put values that are not finite beside the padding and into the weights

    @property
    def rounded(self) -> bool:
        """Whether tensor cores may compute it: not in strict precision, nor where each channel stands alone."""
        return self.precision != "strict" and not (self.groups == self.c > 1)

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.n, *self.size, self.c)

    @property
    def w_shape(self) -> tuple[int, ...]:
        return (*self.kernel, self.c // self.groups, self.k)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.n, *self.geometry.output_size(*self.size), self.k)

    @property
    def geometry(self) -> ConvGeometry:
        return ConvGeometry(self.kernel, self.stride, self.padding, self.dilation, self.groups)


def pad(h: int, w: int) -> Padding:
    return (h, h), (w, w)


_3X3 = [
    Conv("3x3-c64-k64-8x8", 2, (8, 8), 64, 64),
    Conv("3x3-c64-k64-4x4", 5, (4, 4), 64, 64),
    Conv("3x3-c32-k64-16x16", 1, (16, 16), 32, 64),
    Conv("3x3-c96-k48-7x5", 2, (7, 5), 96, 48),
    Conv("3x3-c3-k64-15x16", 2, (15, 16), 3, 64),
    Conv("3x3-c1-k1-5x5", 1, (5, 5), 1, 1),
    Conv("3x3-c7-k15-3x4", 2, (3, 4), 7, 15),
    Conv("3x3-c8-k8-2x2", 5, (2, 2), 8, 8),
    Conv("3x3-c16-k17-5x7", 1, (5, 7), 16, 17),
    Conv("3x3-c31-k33-4x15", 2, (4, 15), 31, 33),
    Conv("3x3-c33-k31-1x1", 2, (1, 1), 33, 31),
    Conv("3x3-c65-k96-3x3", 1, (3, 3), 65, 96),
    Conv("3x3-c63-k47-5x9", 1, (5, 9), 63, 47),
    Conv("3x3-c16-k16-30x30", 3, (30, 30), 16, 16),
    Conv("3x3-c17-k65-8x7", 1, (8, 7), 17, 65),
    Conv("3x3-c48-k3-7x7", 2, (7, 7), 48, 3, bias=False),
    Conv("3x3-c64-k160-2x3", 1, (2, 3), 64, 160),
    Conv("3x3-valid", 2, (7, 8), 16, 32, padding=pad(0, 0)),
    Conv("3x3-valid-to-1x1", 2, (3, 3), 17, 16, padding=pad(0, 0)),
    Conv("3x3-empty-batch", 0, (4, 4), 8, 16),
]

_KERNELS = [
    Conv("1x1-c64-k32", 2, (4, 4), 64, 32, (1, 1), padding=pad(0, 0)),
    Conv("1x1-c33-k7-stride2", 2, (7, 5), 33, 7, (1, 1), (2, 2), pad(0, 0)),
    Conv("1x1-padded", 1, (3, 3), 5, 16, (1, 1), padding=pad(1, 2)),
    Conv("5x5-c3-k16", 2, (8, 8), 3, 16, (5, 5), padding=pad(2, 2)),
    Conv("5x5-c6-k16-valid", 2, (15, 15), 6, 16, (5, 5), padding=pad(0, 0)),
    Conv("5x5-c16-k16", 3, (9, 8), 16, 16, (5, 5), padding=pad(2, 2)),
    Conv("5x5-c33-k40-odd", 2, (7, 5), 33, 40, (5, 5), padding=((2, 1), (0, 3))),
    Conv("5x5-c17-k64-valid", 2, (12, 11), 17, 64, (5, 5), padding=pad(0, 0)),
    Conv("5x5-many-tiles", 4, (16, 16), 32, 20, (5, 5), padding=pad(2, 2)),
    Conv("7x7-stride2", 1, (16, 15), 3, 17, (7, 7), (2, 2), pad(3, 3)),
    Conv("2x2-c15-k16", 2, (5, 4), 15, 16, (2, 2), padding=pad(0, 0)),
    Conv("4x4-even", 1, (7, 7), 8, 7, (4, 4), padding=((1, 2), (2, 1))),
    Conv("1x3-row", 2, (3, 15), 16, 16, (1, 3), padding=pad(0, 1)),
    Conv("3x1-column", 2, (15, 3), 16, 16, (3, 1), padding=pad(1, 0)),
    Conv("kernel-fills-map", 2, (4, 5), 7, 33, (4, 5), padding=pad(0, 0)),
    Conv("kernel-exceeds-map", 2, (2, 1), 3, 8, (5, 3), padding=pad(2, 1)),
]

_GEOMETRY = [
    Conv("stride2", 2, (8, 8), 16, 32, stride=(2, 2)),
    Conv("stride2-odd", 2, (7, 5), 17, 16, stride=(2, 2)),
    Conv("stride3", 1, (8, 7), 8, 15, stride=(3, 3)),
    Conv("stride-1x2", 1, (5, 8), 3, 16, stride=(1, 2)),
    Conv("stride3-kernel2-gaps", 2, (8, 8), 16, 16, (2, 2), (3, 3), pad(0, 0)),
    Conv("stride2-1x3-unread-tail", 1, (8, 8), 4, 16, (1, 3), (2, 2), pad(0, 0)),
    Conv("dilation2", 2, (8, 7), 16, 16, padding=pad(2, 2), dilation=(2, 2)),
    Conv("dilation3-valid", 1, (8, 8), 7, 33, padding=pad(0, 0), dilation=(3, 3)),
    Conv("dilation-1x3-stride2", 2, (7, 16), 8, 16, stride=(2, 2), padding=pad(1, 3), dilation=(1, 3)),
    Conv("pad-asymmetric", 2, (7, 5), 16, 17, padding=((1, 0), (0, 2))),
    Conv("pad-same-stride2", 1, (8, 8), 3, 16, stride=(2, 2), padding=((0, 1), (0, 1))),
    Conv("pad-beyond-kernel", 2, (3, 4), 8, 16, padding=((4, 3), (5, 3))),
    Conv("pad-only-padding-windows", 1, (1, 1), 3, 3, (2, 2), (2, 2), pad(4, 4)),
]

_GROUPS = [
    Conv("groups2", 2, (5, 5), 16, 32, groups=2),
    Conv("groups3-ragged", 1, (4, 7), 9, 15, groups=3),
    Conv("groups4-stride2", 2, (8, 7), 64, 32, stride=(2, 2), groups=4),
    Conv("depthwise-c16", 2, (8, 8), 16, 16, groups=16),
    Conv("depthwise-c33-stride2", 1, (7, 5), 33, 33, stride=(2, 2), groups=33),
    Conv("depthwise-c7-dilation2", 2, (7, 7), 7, 7, padding=pad(2, 2), dilation=(2, 2), groups=7),
    Conv("depthwise-c64-5x5", 1, (5, 4), 64, 64, (5, 5), padding=pad(2, 2), groups=64),
    Conv("depthwise-multiplier2", 2, (4, 5), 17, 34, groups=17),
    Conv("depthwise-multiplier3-pad", 1, (5, 5), 8, 24, padding=((0, 2), (1, 0)), groups=8),
    Conv("depthwise-many-pixels", 3, (12, 11), 9, 9, groups=9),
    Conv("depthwise-empty-batch", 0, (4, 4), 8, 8, groups=8),
]

_DEFAULT = [*_3X3, *_KERNELS, *_GEOMETRY, *_GROUPS]
# A reduction long enough that a sum kept in the wrong type or order shows.
_LONG = [Conv("long-sums", 5, (16, 16), 96, 32)]
_INFINITE = [
    Conv("infinite", 2, (5, 5), 8, 17, precision="strict", infinite=True),
    Conv("infinite-stride2", 1, (7, 8), 3, 16, stride=(2, 2), precision="strict", infinite=True),
    Conv("infinite-1x1-map", 1, (1, 1), 16, 16, precision="strict", infinite=True),
    Conv("infinite-depthwise", 1, (4, 5), 17, 17, groups=17, precision="strict", infinite=True),
    Conv("infinite-groups2", 2, (4, 4), 6, 8, groups=2, precision="strict", infinite=True),
]
CONVS = [*_DEFAULT, *_LONG, *_INFINITE, *(replace(c, id=f"strict-{c.id}", precision="strict") for c in _3X3[:6])]


def prepared_weight(backend, weight, direction, c: Conv, workspace):
    geometry = c.geometry if direction == "forward" else c.geometry.transposed()
    return backend.prepare_conv2d_weight(
        weight,
        geometry=geometry,
        input_shape=c.x_shape,
        precision=c.precision,
        algorithm=get_algorithm(),
        workspace=workspace,
    )


def _maps(c: Conv, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal(shape)
    if c.infinite:  # a zero times these is NaN, which a skipped cell must not give
        a[0, 0, 0, 0], a[-1, -1, -1, -1] = np.inf, np.nan
    return a


def _weight(c: Conv, rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal(c.w_shape)
    if c.infinite:
        a[0, 0, 0, 0], a[-1, 1, 0, -1] = np.inf, -np.inf
    return a


def _spread(c: Conv, name: str, spread: str, summed: str, axes: tuple[int, ...]):
    """Magnitudes for Winograd, which mixes the inputs of a patch: the largest input times the sum of the other factor.

    The worst case is 860 times that (see kernels/NUMERICS.md); rounding errors of both signs stay far below it.
    """

    def magnitude(i: Arrays, expected: Arrays) -> dict:
        if (
            c.precision == "strict"
            or c.kernel not in ((3, 3), (5, 5))
            or c.stride != (1, 1)
            or c.dilation != (1, 1)
            or c.groups > 1
        ):
            return {}
        size = np.abs(i[spread]).max(initial=0) * np.abs(i[summed]).sum(axes) + np.abs(i.get("bias", 0.0))
        return {name: np.broadcast_to(size, expected[name].shape)}

    return magnitude


def forward(c: Conv) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"x": _maps(c, c.x_shape, rng), "weight": _weight(c, rng)}
        return made | {"bias": rng.standard_normal(c.k)} if c.bias else made

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        backend.conv2d(i["x"], weight, i.get("bias"), NO_EPILOGUE, out=o["y"], workspace=workspace)

    terms = int(np.prod(c.w_shape[:3])) + 1
    magnitude = _spread(c, "y", "x", "weight", (0, 1, 2))
    return Case("conv2d", c.id, inputs, {"y": c.y_shape}, call, terms=terms, magnitude=magnitude, rounded=c.rounded)


def backward_input(c: Conv, *, biased: bool = False) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"grad_output": _maps(c, c.y_shape, rng), "weight": _weight(c, rng)}
        return made | {"bias": rng.standard_normal(c.c)} if biased else made

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "backward_input", c, workspace)
        more = {"out": o["grad_input"], "workspace": workspace}
        backend.conv2d_backward_input(i["grad_output"], weight, **({"bias": i["bias"]} if biased else {}), **more)

    terms = c.kernel[0] * c.kernel[1] * c.k // c.groups + biased
    magnitude = _spread(c, "grad_input", "grad_output", "weight", (0, 1, 3))
    outputs, name = {"grad_input": c.x_shape}, f"biased-{c.id}" if biased else c.id
    return Case(
        "conv2d_backward_input", name, inputs, outputs, call, terms=terms, magnitude=magnitude, rounded=c.rounded
    )


def backward_weight(c: Conv) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"grad_output": _maps(c, c.y_shape, rng), "x": _maps(c, c.x_shape, rng)}

    def call(backend, i, o, workspace):
        backend.conv2d_backward_weight(
            i["grad_output"],
            i["x"],
            geometry=c.geometry,
            precision=c.precision,
            algorithm=get_algorithm(),
            out=o["grad_weight"],
            workspace=workspace,
        )

    terms = int(np.prod(c.y_shape[:3]))
    magnitude = _spread(c, "grad_weight", "x", "grad_output", (0, 1, 2))
    outputs = {"grad_weight": c.w_shape}
    return Case(
        "conv2d_backward_weight", c.id, inputs, outputs, call, terms=terms, magnitude=magnitude, rounded=c.rounded
    )


def row_sums(name: str, shape: tuple[int, ...]) -> Case:
    def call(backend, i, o, workspace):
        backend.sum_rows(i["grad_output"], out=o["grad_bias"], workspace=workspace)

    return Case(
        "sum_rows",
        name,
        lambda rng: {"grad_output": rng.standard_normal(shape)},
        {"grad_bias": shape[-1:]},
        call,
        terms=int(np.prod(shape[:-1])),
    )


def dense(
    name: str, n: int, c: int, k: int, *, bias: bool = True, precision: PrecisionChoice = "default"
) -> list[Case]:
    def made(**shapes: tuple[int, ...]):
        return lambda rng: {key: rng.standard_normal(shape) for key, shape in shapes.items()}

    def prepare(backend, weight, direction, workspace):
        return backend.prepare_dense_weight(
            weight, direction=direction, batch=n, precision=precision, workspace=workspace
        )

    def forward(backend, i, o, workspace):
        weight = prepare(backend, i["weight"], "forward", workspace)
        backend.dense(i["x"], weight, i.get("bias"), out=o["y"], workspace=workspace)

    def backward_input(backend, i, o, workspace):
        weight = prepare(backend, i["weight"], "backward_input", workspace)
        backend.dense_backward_input(i["grad_output"], weight, out=o["grad_input"], workspace=workspace)

    def backward_weight(backend, i, o, workspace):
        backend.dense_backward_weight(
            i["grad_output"], i["x"], precision=precision, out=o["grad_weight"], workspace=workspace
        )

    x, w, y = (n, c), (c, k), (n, k)
    shapes = {"x": x, "weight": w} | ({"bias": (k,)} if bias else {})
    passes = [
        ("dense", made(**shapes), {"y": y}, forward, c + 1),
        ("dense_backward_input", made(grad_output=y, weight=w), {"grad_input": x}, backward_input, k),
        ("dense_backward_weight", made(grad_output=y, x=x), {"grad_weight": w}, backward_weight, n),
    ]
    return [
        Case(op, name, inputs, outputs, call, terms=terms, rounded=precision != "strict")
        for op, inputs, outputs, call, terms in passes
    ]


DENSE = [
    *dense("round", 32, 64, 96),
    *dense("ragged", 5, 33, 17),
    *dense("one-of-each", 1, 1, 1),
    *dense("one-image", 1, 65, 10),
    *dense("ten-classes", 31, 48, 10, bias=False),
    *dense("one-output", 7, 31, 1),
    *dense("one-input", 8, 1, 33),
    *dense("long-sums", 100, 1000, 15),
    *dense("wide", 3, 16, 257),
    *dense("empty-batch", 0, 16, 10),
    *dense("strict", 15, 65, 31, precision="strict"),
]

SUMS = [
    row_sums("round", (2, 8, 8, 64)),
    row_sums("ragged", (3, 5, 7, 17)),
    row_sums("dense", (31, 10)),
    row_sums("one-row", (1, 33)),
    row_sums("one-channel", (5, 16, 16, 1)),
    row_sums("empty-batch", (0, 4, 4, 8)),
    row_sums("long", (8, 32, 32, 3)),
]

# A transposed convolution with a bias: one of each algorithm, and where no tap reaches some of the pixels.
_BIASED = {
    *("3x3-c64-k64-8x8", "3x3-c3-k64-15x16", "5x5-c16-k16", "stride2-odd", "stride3-kernel2-gaps", "groups3-ragged"),
    *("depthwise-c16", "depthwise-c33-stride2", "depthwise-multiplier2", "infinite-stride2", "3x3-empty-batch"),
}

CASES = [
    *(case(c) for case in (forward, backward_input, backward_weight) for c in CONVS),
    *(backward_input(c, biased=True) for c in CONVS if c.id in _BIASED),
    *(*DENSE, *SUMS),
]
