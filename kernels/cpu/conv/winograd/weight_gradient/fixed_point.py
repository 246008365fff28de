"""Factors of the products of Winograd's gradient of the weight in 16-bit fixed point, for "fast" precision.

The sum is over tiles, so pairs are of tiles that follow each other, and a block of tiles has a step for each plane and
channel: the norm of that column is 32000 of them, which keeps every sum below 2^31. Rounding is done in place, on what
was transformed in float32. The sums of a block are exact; those of blocks are added in float32, as otherwise.
"""

import math

from ....runtime.launch import device
from ....vector.fixed_point import MAGIC, store_word_pairs
from ....vector.simd import (
    VECTOR_BYTES,
    itemsize,
    lanes,
    vfma,
    vload,
    vselect_gt,
    vselect_max,
    vsplat,
    vsqrt,
    vstore,
    vsum,
)
from ..fixed_point import LEAST, LEAST_STEP, MOST
from ..transforms import PLANES

_NORM = 32000.0  # of a column, in steps


@device
def _largest(place, row_bytes, tiles, dt):
    """The largest absolute value of each lane of a column; NaN if any is."""
    largest, zero = vsplat(0, dt), vsplat(0, dt)
    for t in range(tiles):
        value = vload(place + t * row_bytes, dt)
        value = vselect_max(value, zero - value, value, zero - value)
        largest = vselect_max(value, largest, value, largest)
    return largest


@device
def _norm_of_column(place, row_bytes, tiles, dt):
    """A bound for the norm over tiles, lane by lane; NaN if any element is."""
    zero = vsplat(0, dt)
    a, b, e, f = zero, zero, zero, zero  # four sums, so that none waits for the one before
    row = place
    for _ in range(tiles // 4):
        v0, v1 = vload(row, dt), vload(row + row_bytes, dt)
        v2, v3 = vload(row + 2 * row_bytes, dt), vload(row + 3 * row_bytes, dt)
        a, b, e, f = vfma(v0, v0, a), vfma(v1, v1, b), vfma(v2, v2, e), vfma(v3, v3, f)
        row += 4 * row_bytes
    for _ in range(tiles % 4):
        value = vload(row, dt)
        a = vfma(value, value, a)
        row += row_bytes
    total = (a + b) + (e + f)
    one = vsplat(1, dt)
    inside = vselect_gt(vsplat(MOST, dt), total, vselect_gt(total, vsplat(LEAST, dt), one, zero), zero)
    if vsum(inside) == lanes(dt):
        return vsqrt(total)
    bound = _largest(place, row_bytes, tiles, dt) * vsplat(math.sqrt(tiles), dt)
    return vselect_gt(inside, zero, vsqrt(total), bound)


@device
def _round_column(place, row_bytes, tiles, dt):
    """Round a vector of channels of one plane in place, to pairs of tiles; the steps go into the row after them."""
    magic = vsplat(MAGIC, dt)
    step = _norm_of_column(place, row_bytes, tiles, dt) * vsplat(1 / _NORM, dt)
    factor = vselect_gt(step, vsplat(LEAST_STEP, dt), vsplat(1, dt) / step, vsplat(0, dt))
    source, target = place, place
    for _ in range(tiles // 2):
        first, second = vload(source, dt), vload(source + row_bytes, dt)
        store_word_pairs(target, vfma(first, factor, magic), vfma(second, factor, magic))
        source, target = source + 2 * row_bytes, target + row_bytes
    if tiles % 2:
        store_word_pairs(target, vfma(vload(source, dt), factor, magic), magic)
        target += row_bytes
    vstore(target, step)


@device
def round_planes(values, gradients, tiles, channels_in, plan, dt):
    """Round the planes of a block of tiles, of the input and of the gradient."""
    size = itemsize(dt)
    group = plan.tile_vectors * VECTOR_BYTES
    for plane in range(PLANES):
        source = values + plane * plan.plane_v * size
        for c in range(0, channels_in * size, VECTOR_BYTES):
            _round_column(source + c, plan.row_v * size, tiles, dt)
        source = gradients + plane * plan.plane_g * size
        for k in range(0, plan.block_out * size, VECTOR_BYTES):
            _round_column(source + k // group * plan.block_tiles * group + k % group, group, tiles, dt)
