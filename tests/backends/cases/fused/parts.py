"""What cases of fused operations are made of: convolutions, maps, what follows, and sizes of gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import RELU, Activation
from tests.backends.cases.conv import Conv, pad

FUSED_CONVS = [
    Conv("winograd-c64-k64", 2, (8, 8), 64, 64),
    Conv("winograd-c16-k16-cut", 3, (7, 9), 16, 16),
    Conv("winograd-c17-k33-valid", 2, (13, 13), 17, 33, padding=pad(0, 0)),
    Conv("winograd-many-tiles", 9, (16, 16), 32, 48),
    Conv("winograd-one-tile", 1, (2, 3), 40, 70),
    Conv("strict", 2, (6, 5), 16, 17, precision="strict"),
    Conv("stem", 2, (8, 7), 3, 16, bias=False),
    Conv("stride2", 2, (8, 8), 16, 32, stride=(2, 2), bias=False),
    Conv("1x1-stride2", 2, (7, 5), 33, 7, (1, 1), (2, 2), pad(0, 0)),
    Conv("5x5", 1, (9, 8), 20, 9, (5, 5), padding=pad(2, 2)),
    Conv("many-channels", 1, (4, 4), 700, 20, (1, 1), padding=pad(0, 0)),
    Conv("groups2", 2, (5, 5), 16, 32, groups=2),
    Conv("depthwise", 2, (5, 6), 17, 17, groups=17),
    Conv("infinite", 2, (5, 5), 8, 17, precision="strict", infinite=True),
]
MAPS = {
    "round": (2, 8, 8, 64),
    "ragged": (3, 5, 7, 17),
    "c3": (2, 6, 5, 3),
    "c96-2x2": (4, 2, 2, 96),
    "one-element": (1, 1, 1, 7),
    "long": (9, 16, 16, 16),
    "far-from-zero": (2, 6, 6, 16),
    "two-rows": (3, 5, 7, 17),
}
AFTER, ADDED, ADDS = Epilogue(activation=RELU), Epilogue(True, RELU), Epilogue(True)
SQUARES = PoolWindows((2, 2), (2, 2))
OVERLAPPING = PoolWindows((3, 3), (2, 2), pad(1, 1))
CEILING = replace(SQUARES, ceil_mode=True)


def named(epilogue: Epilogue, name: str) -> str:
    activation = None if epilogue.activation is None else epilogue.activation.name
    return "-".join(
        filter(None, ("add" * epilogue.adds, activation, "max_pool2d" * (epilogue.windows is not None), name))
    )


def saved_for(activation: Activation, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return what the gradient of a function is computed from: numbers, or results of it."""
    if activation == RELU:
        return np.maximum(rng.standard_normal(shape), 0)
    return 2 * rng.standard_normal(shape) if activation.function.needs == "x" else rng.random(shape)


def steep(activation: Activation | None, size: np.ndarray) -> np.ndarray | float:
    """By how much gradients grow through a function, and of what rounding changes of it; `size` is that of x or y."""
    return 1.0 if activation in (None, RELU) else 2 * (1 + np.abs(size))


def pooled_shape(shape: tuple[int, ...], windows: PoolWindows) -> tuple[int, ...]:
    return (shape[0], *windows.output_size(*shape[1:3]), shape[3])


def cells_inside(
    rng: np.random.Generator, shape: tuple[int, ...], pooled: tuple[int, ...], windows: PoolWindows
) -> np.ndarray:
    """Places in the windows at random, of cells that lie in the map."""
    kernel_h, kernel_w = windows.kernel_size
    (top, _), (left, _) = windows.padding
    rows, cols = [], []
    for target, size, count, k, s, before in (
        (rows, shape[1], pooled[1], kernel_h, windows.stride[0], top),
        (cols, shape[2], pooled[2], kernel_w, windows.stride[1], left),
    ):
        for p in range(count):
            inside = [r for r in range(k) if 0 <= p * s - before + r < size]
            target.append((inside[0], inside[-1] + 1))
    place = np.empty(pooled, np.uint8)
    for p, (r0, r1) in enumerate(rows):
        for q, (s0, s1) in enumerate(cols):
            r = rng.integers(r0, r1, (pooled[0], pooled[3]))
            place[:, p, q] = r * kernel_w + rng.integers(s0, s1, (pooled[0], pooled[3]))
    return place
