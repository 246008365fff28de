"""Which algorithm computes a convolution: from shapes, precision and the host, or as was asked for, or measured."""

import functools
import math

import numpy as np

from ..runtime.launch import get_num_threads
from ..vector import amx
from ..vector.fixed_point import FIXED
from ..vector.tile import ROWS
from . import autotune
from .algorithms import BF16, DIRECT, DIRECTIONS, TILES, WIDE, WINOGRAD, WINOGRAD_FIXED
from .plan import conv_output_shape
from .winograd.plan import suits_wide
from .winograd.transforms import MASKS

_WINOGRAD_CHANNELS = 16  # to be summed over; with fewer the transforms outweigh the products that they save
# Products take as long for one tile as for a register tile full of them, and the weight is four times as large.
# Winograd's time by that of direct, 32 to 512 channels at 4x4 to 8x8 on Zen 5: forward, 4 tiles 1.0 to 1.9, 8 tiles
# 0.5 to 1.2 (0.8 to 1.5 with the weight's transform); gradients with all that belongs to them, 8 tiles 1.0 to 1.7,
# 12 tiles 0.9 to 1.4, 16 tiles 0.7 to 1.2. With the six rows of AVX2 it is not measured.
_LEAST_TILES = {"forward": ROWS // 2 + 1, "backward_input": ROWS, "backward_weight": ROWS}
_FEW_CHANNELS, _FEW_WEIGHT_CHANNELS = 4, 16
_FIXED_CHANNELS = 32
_WIDE_PRODUCTS = 2**21  # of a plane: where a pass takes 0.4 ms (128x8x8x64 to 64), 4 s of compiling save 0.03
_WIDE_CHANNELS = 64  # of input and output (128x16x16x32 to 32 on Zen 5: 0.49 ms with tiles of 4x4, 0.51 with 4x8)


def is_depthwise(weight_shape, groups):
    """Tell whether each output channel has one input channel of its own."""
    return weight_shape[2] == 1 and weight_shape[3] == groups > 1


def _never_winograd(weight_shape, dtype, geometry, precision):
    """Return why Winograd cannot compute it, None if it can."""
    if dtype != np.float32:
        return f"{dtype} is always direct"
    if precision == "strict":
        return "strict precision is always direct"
    if tuple(weight_shape[:2]) not in TILES:
        return f"the kernel is {weight_shape[0]}x{weight_shape[1]}"
    for name, value in (("stride", geometry.stride), ("dilation", geometry.dilation)):
        if value != (1, 1):
            return f"the {name} is {value}"
    return f"there are {geometry.groups} groups" if geometry.groups != 1 else None


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
    shape = input_shape if direction == "backward_input" else conv_output_shape(input_shape, weight_shape, geometry)
    tile = TILES[tuple(weight_shape[:2])]
    size = "x".join(map(str, tile))
    tiles = math.prod(-(-n // side) for n, side in zip(shape[1:3], tile, strict=True))
    share = shape[1] * shape[2] / max(1, tiles * math.prod(tile))
    if share < 0.5:
        return f"a map of {shape[1]}x{shape[2]} fills {share:.0%} of its {size} tiles"
    tiles *= shape[0]
    if tiles < _LEAST_TILES[direction]:
        return f"{tiles} tiles of {size} are fewer than {_LEAST_TILES[direction]}"
    return None


def _few(direction, weight_shape):
    """Tell whether a gradient has so few input channels, of a group, that products in pairs do not pay.

    With an image of 3 channels as input (128x32x32x3 to 32 on Zen 5): gradient of the weight 1.0 ms by dot products of
    bfloat16, 0.6 in float32; of the image 2.5 and 1.4. Gradient of the weight of 16 to 32 channels with stride 2, in a
    step of ResNet-20 where nothing is in a cache: 1.3 and 1.0.
    """
    most = {"backward_input": _FEW_CHANNELS, "backward_weight": _FEW_WEIGHT_CHANNELS}.get(direction, 0)
    return weight_shape[2] <= most and not amx.usable()


def _fixed(direction, weight_shape):
    """Tell whether the products of Winograd take less time in fixed point, with what rounding to it takes."""
    channels = {"forward": weight_shape[2], "backward_input": weight_shape[3]}.get(direction, min(weight_shape[2:]))
    return FIXED and channels >= _FIXED_CHANNELS


@functools.lru_cache(maxsize=1024)
def _wide(direction, weight_shape, input_shape, geometry):
    """Tell whether a forward pass, or a gradient of the input, has wide tiles.

    There must be enough to do to be worth a kernel more. Registers for a row of ten vectors are those of AVX-512.
    """
    if not MASKS or weight_shape[:2] != (3, 3) or min(weight_shape[2:]) < _WIDE_CHANNELS:
        return False
    left = geometry.padding[1][0]
    shape = conv_output_shape(input_shape, weight_shape, geometry)
    if direction == "backward_input":
        input_shape, shape, left = shape, input_shape, 2 - left
        if left != 1:  # patches that begin on the image's columns may be those of a pooling's gradient
            return False
    tiles = math.prod(shape[:3]) // math.prod(WIDE)
    return tiles * math.prod(weight_shape[2:]) >= _WIDE_PRODUCTS and suits_wide(input_shape, shape, left)


def _winograd_form(direction, weight_shape, input_shape, geometry, precision):
    """Return which of the Winograd algorithms it would be."""
    tile = TILES[weight_shape[:2]]
    if precision == "fast":
        return (WINOGRAD_FIXED if _fixed(direction, weight_shape) else WINOGRAD)[direction, tile]
    wide = direction != "backward_weight" and _wide(direction, weight_shape, input_shape, geometry)
    return WINOGRAD[direction, WIDE if wide else tile]


def choose(direction, problem, wanted, make_run):
    """Return the algorithm, one of algorithms.py, and why.

    `problem` is (shape of the weight, its type, shape of the input, geometry, precision), `wanted` what
    `fastconv.set_algorithm` takes; ``make_run(direction)`` gives the autotuner what computes it with an algorithm.
    """
    weight_shape, dtype, input_shape, geometry, precision = problem
    weight_shape, input_shape = tuple(weight_shape), tuple(input_shape)
    problem = (direction, weight_shape, dtype, input_shape, geometry, precision)
    rounded = precision == "fast" and dtype == np.float32 and not _few(direction, weight_shape)
    otherwise = (BF16 if rounded else DIRECT)[direction]
    if wanted == "direct":
        return otherwise, "asked for"
    never = _never_winograd(weight_shape, dtype, geometry, precision)
    if never is not None:
        return otherwise, never
    winograd = _winograd_form(direction, weight_shape, input_shape, geometry, precision)
    if wanted == "winograd":
        return winograd, "asked for"
    if wanted == "tuned" and 0 not in input_shape:
        values = geometry.stride, geometry.padding, geometry.dilation, geometry.groups
        key = " ".join(map(str, (*problem[:4], values, precision, f"{get_num_threads()} threads")))
        return autotune.measured(key, (winograd, otherwise), make_run(direction)), "the faster one when measured"
    obstacle = _no_winograd(*problem)
    return (otherwise, obstacle) if obstacle else (winograd, None)


def reasons(problem, wanted, make_run):
    """Return, for each direction, the algorithm and why it was chosen; the arguments are those of `choose`."""
    weight_shape, _, _, geometry, _ = problem
    if is_depthwise(weight_shape, geometry.groups):
        return ["depthwise: one input channel for each output"]
    found = []
    size = "x".join(map(str, weight_shape[:2]))
    for direction in DIRECTIONS:
        algorithm, reason = choose(direction, problem, wanted, make_run)
        name = {"winograd": "Winograd", "bf16": "bfloat16"}.get(algorithm.form, algorithm.form)
        arithmetic = "16-bit fixed point" if algorithm.fixed_point else "float32"
        arithmetic += ", tiles of 4x8" if algorithm.tile == WIDE else ""
        found.append(f"{direction.replace('_', '-')} {name}: {reason or f'{size} with stride 1 in {arithmetic}'}")
    return found
