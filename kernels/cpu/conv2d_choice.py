"""Which algorithm computes a convolution: from shapes, precision and the host, or as was asked for, or measured."""

import functools
import math

import numpy as np

from . import amx, autotune, winograd
from .fixed import FIXED
from .gather import ROWS
from .launch import get_num_threads

WINOGRAD_TILES = {(3, 3): winograd.TILE, (5, 5): winograd.SMALL_TILE}
_WINOGRAD_CHANNELS = 16  # to be summed over; with fewer the transforms outweigh the products that they save
# Products take as long for one tile as for a register tile full of them, and the weight is four times as large.
# Winograd's time by that of direct, 32 to 512 channels at 4x4 to 8x8 on Zen 5: forward, 4 tiles 1.0 to 1.9, 8 tiles
# 0.5 to 1.2 (0.8 to 1.5 with the weight's transform); gradients with all that belongs to them, 8 tiles 1.0 to 1.7,
# 12 tiles 0.9 to 1.4, 16 tiles 0.7 to 1.2. With the six rows of AVX2 it is not measured.
_LEAST_TILES = {"forward": ROWS // 2 + 1, "backward_input": ROWS, "backward_weight": ROWS}
_FEW_CHANNELS, _FEW_WEIGHT_CHANNELS = 4, 16
_FIXED_CHANNELS = 32
WINOGRAD, WINOGRAD_FIXED = ("winograd", "winograd_fixed"), "winograd_fixed"
DIRECTIONS = ("forward", "backward_input", "backward_weight")


@functools.lru_cache(maxsize=1024)
def conv_output_shape(input_shape, weight_shape, stride, padding, dilation):
    """Return the shape of the output."""
    out = [
        (n + sum(pads) - d * (k - 1) - 1) // s + 1
        for n, pads, d, k, s in zip(input_shape[1:3], padding, dilation, weight_shape[:2], stride, strict=True)
    ]
    return (input_shape[0], *out, weight_shape[3])


def is_depthwise(weight_shape, groups):
    """Tell whether each output channel has one input channel of its own."""
    return weight_shape[2] == 1 and weight_shape[3] == groups > 1


def _never_winograd(weight_shape, dtype, geometry, precision):
    """Return why Winograd cannot compute it, None if it can."""
    stride, _, dilation, groups = geometry
    if dtype != np.float32:
        return f"{dtype} is always direct"
    if precision == "strict":
        return "strict precision is always direct"
    if tuple(weight_shape[:2]) not in WINOGRAD_TILES:
        return f"the kernel is {weight_shape[0]}x{weight_shape[1]}"
    for name, value in (("stride", stride), ("dilation", dilation)):
        if value != (1, 1):
            return f"the {name} is {value}"
    return f"there are {groups} groups" if groups != 1 else None


@functools.lru_cache(maxsize=1024)
def _no_winograd(direction, weight_shape, dtype, input_shape, geometry, precision):
    """Return why Winograd does not pay; None if it does: stride 1, enough channels and tiles, maps that fill these."""
    never = _never_winograd(weight_shape, dtype, geometry, precision)
    if never is not None:
        return never
    if precision == "fast" and amx.usable():
        return "tile registers multiply bfloat16 faster"
    if min(weight_shape[2:]) < _WINOGRAD_CHANNELS:
        return f"{min(weight_shape[2:])} channels are fewer than {_WINOGRAD_CHANNELS}"
    shape = (
        input_shape if direction == "backward_input" else conv_output_shape(input_shape, weight_shape, *geometry[:3])
    )
    tile = WINOGRAD_TILES[tuple(weight_shape[:2])]
    tiles = math.prod(-(-n // tile) for n in shape[1:3])
    share = shape[1] * shape[2] / max(1, tiles * tile * tile)
    if share < 0.5:
        return f"a map of {shape[1]}x{shape[2]} fills {share:.0%} of its {tile}x{tile} tiles"
    tiles *= shape[0]
    if tiles < _LEAST_TILES[direction]:
        return f"{tiles} tiles of {tile}x{tile} are fewer than {_LEAST_TILES[direction]}"
    return None


def _few(direction, weight_shape):
    """Tell whether a gradient has so few input channels, of a group, that products in pairs do not pay.

    Behind an image of 3 channels (128x32x32x3 to 32 on Zen 5): gradient of the weight 1.0 ms by dot products of
    bfloat16, 0.6 in float32; of the image 2.5 and 1.4. Gradient of the weight of 16 to 32 channels with stride 2, in a
    step of ResNet-20 where nothing is in a cache: 1.3 and 1.0.
    """
    most = {"backward_input": _FEW_CHANNELS, "backward_weight": _FEW_WEIGHT_CHANNELS}.get(direction, 0)
    return weight_shape[2] <= most and not amx.usable()


def _fixed(direction, weight_shape):
    """Tell whether the products of Winograd take less time in fixed point, with what rounding to it takes."""
    channels = {"forward": weight_shape[2], "backward_input": weight_shape[3]}.get(direction, min(weight_shape[2:]))
    return FIXED and channels >= _FIXED_CHANNELS


def choose(direction, weight_shape, dtype, input_shape, geometry, precision, make_run):
    """Return the algorithm ("winograd", "winograd_fixed", "direct" or "bf16") and why.

    ``make_run(direction)`` gives the autotuner what computes it with an algorithm.
    """
    problem = (direction, tuple(weight_shape), dtype, tuple(input_shape), geometry, precision)
    otherwise = (
        "bf16" if precision == "fast" and dtype == np.float32 and not _few(direction, weight_shape) else "direct"
    )
    winograd = WINOGRAD_FIXED if precision == "fast" and _fixed(direction, weight_shape) else "winograd"
    wanted = autotune.get_algorithm()
    never = _never_winograd(weight_shape, dtype, geometry, precision)
    if never is None and wanted == "winograd":
        return winograd, "asked for"
    if wanted == "direct":
        return otherwise, "asked for"
    if never is None and wanted == "tuned" and 0 not in input_shape:
        key = " ".join(map(str, (*problem, f"{get_num_threads()} threads")))
        return autotune.measured(key, (winograd, otherwise), make_run(direction)), "the faster one when measured"
    obstacle = _no_winograd(*problem)
    return (otherwise, obstacle) if obstacle else (winograd, None)


def reasons(weight, input_shape, geometry, precision, make_run):
    """Return, for each direction, the algorithm and why it was chosen; `make_run` is called with a direction."""
    if is_depthwise(weight.shape, geometry[3]):
        return ["depthwise: one input channel for each output"]
    found = []
    size = "x".join(map(str, weight.shape[:2]))
    for direction in DIRECTIONS:
        algorithm, reason = choose(direction, weight.shape, weight.dtype, input_shape, geometry, precision, make_run)
        name = "Winograd" if algorithm in WINOGRAD else {"bf16": "bfloat16"}.get(algorithm, algorithm)
        arithmetic = "16-bit fixed point" if algorithm == WINOGRAD_FIXED else "float32"
        found.append(f"{direction.replace('_', '-')} {name}: {reason or f'{size} with stride 1 in {arithmetic}'}")
    return found
