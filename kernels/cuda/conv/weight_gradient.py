"""The gradient of a convolution's weight, summed in parts whose number depends on the shapes."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..elementwise.elementwise import fill
from ..elementwise.reduce import sum_rows
from ..runtime.device import Kernel
from ..runtime.grids import one_by_one, typed
from .choice import MATHS, PLAIN_TILE, SIZES, STAGES, Variant, fitting
from .conv2d import pack_input

# Blocks wanted at most, as the results alone are few: 3 for each multiprocessor of an H100, so that they all run at
# once. Each sums at least so many steps of 32 pixels.
_WEIGHT_BLOCKS = 396
_LEAST_STEPS = 8
_PIXELS, _PLAIN_STEP = 32, 16  # of a step
_DEPTHWISE_PIXELS = 256  # that one thread of conv2d_depthwise_weight sums


def backward_weight(device, grad_output, x, geometry, *, precision, out, workspace):
    """Gradient of the weight, summed in parts whose number depends on the shapes."""
    if not (grad_output.size and x.size):
        fill(device, 0, out=out)
    elif geometry.channels == 1 and geometry.groups > 1:
        _backward_weight_depthwise(device, grad_output, x, geometry, out, workspace)
    elif precision == "strict" or x.dtype != np.float32:
        _backward_weight_plain(device, grad_output, x, geometry, out, workspace)
    else:
        _backward_weight_tensor(device, grad_output, x, geometry, MATHS[precision], out, workspace)


def _backward_weight_depthwise(device, grad_output, x, geometry, out, workspace):
    macros = geometry.depthwise_macros()
    results, taps = grad_output.shape[3], math.prod(geometry.kernel_size)
    pixels = math.prod(grad_output.shape[:3])
    parts = -(-pixels // _DEPTHWISE_PIXELS)
    sums = out if parts == 1 else workspace.empty((parts, out.size), out.dtype)
    kernel = typed("conv2d_depthwise.cu", "conv2d_depthwise_weight", x.dtype, *macros)
    threads = min(256, -(-results // 32) * 32)
    numbers = (np.int32(_DEPTHWISE_PIXELS), *geometry.numbers(x.shape, grad_output.shape))
    grid = (parts, taps, -(-results // threads))
    device.launch(kernel, grid, (threads, 1, 1), (grad_output, x, sums, *numbers))
    if parts > 1:
        sum_rows(device, sums, out=out, workspace=workspace)


def _splits(blocks, steps):
    """Return the number of parts, and the steps of each, for a sum of `steps` by so many blocks a part."""
    parts = max(1, min(_WEIGHT_BLOCKS // blocks, steps // _LEAST_STEPS))
    each = -(-steps // parts)
    return -(-steps // each), each


def _sum_splits(device, sums, splits, grad_output, x, geometry, out):
    kernel = typed("conv2d_splits.cu", "sum_splits", out.dtype, *geometry.macros())
    arguments = (sums, grad_output, x, out, np.int32(splits), *geometry.numbers(x.shape, grad_output.shape))
    device.launch(kernel, *one_by_one(device, out.size), arguments)


def _backward_weight_plain(device, grad_output, x, geometry, out, workspace):
    rows = math.prod(geometry.kernel_size) * geometry.channels
    tiles = -(-rows // PLAIN_TILE) * -(-geometry.columns // PLAIN_TILE)
    steps = -(-math.prod(grad_output.shape[:3]) // _PLAIN_STEP)
    splits, each = _splits(tiles * geometry.groups, steps)
    sums = workspace.empty((splits, out.size), out.dtype)
    kernel = typed("conv2d_weight_plain.cu", "conv2d_weight_plain", x.dtype, *geometry.macros())
    numbers = (np.int32(each), *geometry.numbers(x.shape, grad_output.shape))
    device.launch(kernel, (tiles, 1, geometry.groups * splits), (256, 1, 1), (grad_output, x, sums, *numbers))
    _sum_splits(device, sums, splits, grad_output, x, geometry, out)


def _as_rows(geometry, read, written):
    """Return the shapes of a 1x1 convolution as one row of pixels, so that strips are full; others as they are."""
    plain = geometry.kernel_size == geometry.stride == (1, 1) and not any(map(any, geometry.padding))
    pixels = math.prod(written[:3])
    if not plain or pixels >= 2**31:
        return read, written
    return (1, 1, pixels, read[3]), (1, 1, pixels, written[3])


def strip_of(width):
    """Return the length of strips that leaves the least of a row of the map empty."""
    return min((32, 16, 8, 4), key=lambda strip: -(-width // strip) * strip)


def weight_variants(geometry, out_width, math_, *, padded_input):
    """Yield conv2d_weight for a shape, with smaller and smaller tiles."""
    taps, size = math.prod(geometry.kernel_size), SIZES[math_]
    flat = geometry.channels * size < 32 and taps > 1
    rows = taps * geometry.channels if flat else geometry.channels
    together = geometry.kernel_size[1] == 3 and geometry.stride[1] == geometry.dilation[1] == 1 and not flat
    row_taps, strip = 3 if together else 1, strip_of(out_width)
    x_strip = strip + row_taps - 1
    x_rows = _PIXELS // strip * (x_strip + (12 - x_strip % 8) % 8 if strip == 4 else x_strip)
    tap_blocks = 1 if flat else taps // row_taps
    for tile_m, tile_n in itertools.product(_weight_tiles(rows), _weight_tiles(geometry.columns)):
        warps_m, warps_n = 1 + (tile_m > 16), 1 + (tile_n > 16)
        macros = (
            *(("MATH", math_), ("FLAT", int(flat)), ("PADDED_INPUT", int(padded_input))),
            *geometry.macros(),
            *(("TILE_M", tile_m), ("TILE_N", tile_n), ("WARPS_M", warps_m), ("WARPS_N", warps_n)),
            *(("ROW_TAPS", row_taps), ("STRIP", strip), ("PIXELS", _PIXELS), ("STAGES", STAGES)),
        )
        shared = STAGES * (x_rows * (tile_m + 8) + _PIXELS * (tile_n + 8)) * size
        tiles = -(-rows // tile_m) * -(-geometry.columns // tile_n)
        kernel = Kernel("conv2d_weight.cu", "conv2d_weight", macros)
        yield Variant(kernel, shared, 0, warps_m * warps_n * 32, (tiles, tap_blocks))


def _weight_tiles(count):
    """Return the sizes of tiles for so many rows or columns: the one wanted, then smaller ones."""
    wanted = next(n for n in (16, 32, 64) if n >= count or n == 64)
    return [n for n in (64, 32, 16) if n <= wanted]


def _backward_weight_tensor(device, grad_output, x, geometry, math_, out, workspace):
    read, written = _as_rows(geometry, x.shape, grad_output.shape)
    variant = fitting(device, weight_variants(geometry, written[2], math_, padded_input=math_ != "TF32"))
    tiles, tap_blocks = variant.tile
    grad, operand = grad_output, x
    if math_ != "TF32":
        grad = pack_input(device, grad_output, geometry.columns, geometry.groups, math_, workspace)
        operand = pack_input(device, x, geometry.channels, geometry.groups, math_, workspace)
    strip = strip_of(written[2])
    strips = written[0] * written[1] * -(-written[2] // strip)
    steps = -(-strips // (_PIXELS // strip))
    splits, each = _splits(tiles * tap_blocks * geometry.groups, steps)
    sums = workspace.empty((splits, out.size), np.float32)
    grid = (tiles, geometry.groups * tap_blocks, splits)
    arguments = (grad, operand, sums, np.int32(each), *geometry.numbers(read, written))
    device.launch(variant.kernel, grid, (variant.threads, 1, 1), arguments, shared_bytes=variant.shared_bytes)
    _sum_splits(device, sums, splits, grad_output, x, geometry, out)
