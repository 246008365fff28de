"""Winograd's products in 16-bit fixed point, for "fast" precision: twice the multiplications of float32.

bfloat16 is not precise enough for them: its rounding grows fivefold and more between the transforms. Here the patch of
a tile, transformed in float32, is rounded to 16 bits with one step for all of it, the weight with a step for each plane
and output channel; the sums over input channels are exact. Steps are as small as can be without a sum that could reach
2^31, by the inequality of Cauchy and Schwarz:

    |sum over c of v[c] u[c]| <= |v| |u|,  |v| <= 32000 steps of the tile in every plane, |u| <= 65000 steps of its own

Planes are weighted so that a patch of noise is as large in each. A patch with NaN or infinity gives NaN in its tile.
"""

import math

import numpy as np

from ...runtime.launch import device
from ...vector.fixed_point import (
    MAGIC,
    PAIR_BYTES,
    WORD_BYTES,
    store_word_pairs,
    store_words,
    tile_dot_words,
    tile_store_floats,
)
from ...vector.prefetch import AHEAD_BYTES, ask_to_write, bytes_a_step
from ...vector.simd import (
    LINE_BYTES,
    VECTOR_BYTES,
    itemsize,
    prefetch,
    prefetch_far,
    vfloor,
    vfma,
    vload,
    vselect_gt,
    vselect_max,
    vsplat,
    vsqrt,
    vstore,
    vstore_part,
    vsum,
)
from ...vector.tile import ROWS, row_steps, tile_zero
from .prefetch import far_from_tile, take_turn
from .transforms import PATCH, PLANES

# Norms in steps; their product, with half a step more in every element, is below 2^31.
_NORM_V, _NORM_U = np.float32(32000), 65000.0
_LARGEST = 32700.0
LEAST, MOST = 1e-30, 1e37  # of sums of squares in float32; others are found in another way
TINY, LEAST_STEP = 1e-32, 1e-37  # a norm or a step that is smaller counts as zero; of others the inverse is finite
_ROW_NORMS = [math.sqrt(n) for n in (42, 34, 34, 10, 10, 42)]  # of B^T
_BALANCE = np.array([1 / (a * b) for a in _ROW_NORMS for b in _ROW_NORMS], np.float32)
_SQUARE = _BALANCE**2


@device
def _norm_out_of_range(source, plane_bytes, channels, dt):
    """As `norm_of_planes` where squares leave the range of float32: of the planes divided by about the largest."""
    largest, most, zero = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    end = channels * itemsize(dt)
    for plane in range(PLANES):
        for place in range(source + plane * plane_bytes, source + plane * plane_bytes + end, VECTOR_BYTES):
            value = vload(place, dt) * vsplat(_BALANCE[plane], dt)
            value = vselect_max(value, zero - value, value, zero - value)
            largest = vselect_max(value, largest, value, largest)
    size = vsum(largest)
    if not TINY < size < math.inf:
        return size
    inverse = vsplat(16 / size, dt)  # no subnormal, however large the size
    for plane in range(PLANES):
        total = zero
        for place in range(source + plane * plane_bytes, source + plane * plane_bytes + end, VECTOR_BYTES):
            value = vload(place, dt) * vsplat(_BALANCE[plane] / 16, dt) * inverse
            total = vfma(value, value, total)
        most = vfloor(most, total)
    return size * math.sqrt(vsum(most))


@device
def _norms_of_six(source, plane_bytes, end, plane, most, everything, dt):
    """Take six planes into the largest norm and the sum, lane by lane; one after the other takes twice as long."""
    zero = vsplat(0, dt)
    t0, t1, t2, t3, t4, t5 = zero, zero, zero, zero, zero, zero
    for place in range(source, source + end, VECTOR_BYTES):
        v0, v1 = vload(place, dt), vload(place + plane_bytes, dt)
        v2, v3 = vload(place + 2 * plane_bytes, dt), vload(place + 3 * plane_bytes, dt)
        v4, v5 = vload(place + 4 * plane_bytes, dt), vload(place + 5 * plane_bytes, dt)
        t0, t1, t2 = vfma(v0, v0, t0), vfma(v1, v1, t1), vfma(v2, v2, t2)
        t3, t4, t5 = vfma(v3, v3, t3), vfma(v4, v4, t4), vfma(v5, v5, t5)
    t0, t1 = t0 * vsplat(_SQUARE[plane], dt), t1 * vsplat(_SQUARE[plane + 1], dt)
    t2, t3 = t2 * vsplat(_SQUARE[plane + 2], dt), t3 * vsplat(_SQUARE[plane + 3], dt)
    t4, t5 = t4 * vsplat(_SQUARE[plane + 4], dt), t5 * vsplat(_SQUARE[plane + 5], dt)
    most = vfloor(most, vfloor(vfloor(vfloor(t0, t1), vfloor(t2, t3)), vfloor(t4, t5)))
    return most, everything + ((t0 + t1) + (t2 + t3)) + (t4 + t5)


@device
def norm_of_planes(source, plane_bytes, channels, dt):
    """A bound for the norms over channels of all planes of a tile, each in its balance; NaN if any element is."""
    most, everything = vsplat(0, dt), vsplat(0, dt)
    end, place = channels * itemsize(dt), source
    for plane in range(0, PLANES, PATCH):
        most, everything = _norms_of_six(place, plane_bytes, end, plane, most, everything, dt)
        place += PATCH * plane_bytes
    squares = vsum(most)
    if squares > LEAST and vsum(everything) < MOST:  # the sum keeps NaN
        return math.sqrt(squares)
    return _norm_out_of_range(source, plane_bytes, channels, dt)


@device
def _round_vectors(source, target, scale, magic, dt):
    low, high = vload(source, dt), vload(source + VECTOR_BYTES, dt)
    store_words(target, vfma(low, scale, magic), vfma(high, scale, magic))


@device
def _round_six(source, plane_bytes, end, scale, plane, target, target_bytes, dt):
    """Round six planes side by side."""
    magic = vsplat(MAGIC, dt)
    s0, s1 = scale * vsplat(_BALANCE[plane], dt), scale * vsplat(_BALANCE[plane + 1], dt)
    s2, s3 = scale * vsplat(_BALANCE[plane + 2], dt), scale * vsplat(_BALANCE[plane + 3], dt)
    s4, s5 = scale * vsplat(_BALANCE[plane + 4], dt), scale * vsplat(_BALANCE[plane + 5], dt)
    for place in range(source, source + end, 2 * VECTOR_BYTES):
        _round_vectors(place, target, s0, magic, dt)
        _round_vectors(place + plane_bytes, target + target_bytes, s1, magic, dt)
        _round_vectors(place + 2 * plane_bytes, target + 2 * target_bytes, s2, magic, dt)
        _round_vectors(place + 3 * plane_bytes, target + 3 * target_bytes, s3, magic, dt)
        _round_vectors(place + 4 * plane_bytes, target + 4 * target_bytes, s4, magic, dt)
        _round_vectors(place + 5 * plane_bytes, target + 5 * target_bytes, s5, magic, dt)
        target += VECTOR_BYTES


@device
def round_tile(source, plane_bytes, norm, target, step, plan, dt):
    """Round the planes of one tile, float32 at `source`, to the planes at `target`; write the step to `step`."""
    factor, size = np.float32(0), np.float32(0)
    if not norm < math.inf:
        size = np.float32(math.nan)
    elif norm > TINY:
        factor, size = _NORM_V / norm, norm / _NORM_V
    vstore_part(step, vsplat(size, dt), 1)
    scale, end, target_bytes = vsplat(factor, dt), plan.in_channels * itemsize(dt), plan.plane_v * WORD_BYTES
    for plane in range(0, PLANES, PATCH):
        _round_six(source, plane_bytes, end, scale, plane, target, target_bytes, dt)
        source += PATCH * plane_bytes
        target += PATCH * target_bytes


def make_multiply_fixed(vectors, far):
    """Make the product of a plane of some tiles with the weight of one group; see blocks.py."""

    @device
    def multiply_fixed(source, weights, target, steps, tiles, ahead, plan, dt):
        row_v, row_m = plan.row_v * WORD_BYTES, vectors * VECTOR_BYTES
        pairs = (plan.in_channels + 1) // 2
        plane_v, plane_u = plan.plane_v * WORD_BYTES, plan.plane_u * WORD_BYTES
        output, output_bytes, turns = ahead
        scales = weights + pairs * vectors * VECTOR_BYTES
        for t in range(0, tiles, ROWS):
            rows = row_steps(ROWS, source + t * row_v, row_v)
            place = weights
            output = ask_to_write(output, output_bytes)
            if not far:
                asked, asked_bytes, turns = take_turn(turns)
                ask_step = bytes_a_step(asked_bytes, 2 * pairs)
            if far:
                next_v, step_v, next_u, step_u = far_from_tile(
                    source, weights, t, tiles, row_v, plane_v, plane_u, pairs
                )
            acc = tile_zero(ROWS, vectors, dt)
            for shift in range(0, pairs * PAIR_BYTES, PAIR_BYTES):
                for line in range(0, vectors * VECTOR_BYTES, LINE_BYTES):
                    prefetch(place + AHEAD_BYTES + line)
                if not far:
                    prefetch_far(asked)
                    prefetch_far(asked + ask_step)
                    asked += 2 * ask_step
                if far:
                    prefetch_far(next_v)
                    prefetch_far(next_u)
                    next_v, next_u = next_v + step_v, next_u + step_u
                acc = tile_dot_words(acc, rows, shift, place)
                place += vectors * VECTOR_BYTES
            targets = row_steps(ROWS, target + t * row_m, row_m)
            tile_store_floats(acc, targets, steps + t * itemsize(dt), itemsize(dt), scales)
        return output, output_bytes, turns

    return multiply_fixed


@device
def add_squares(kept, sums, dt):
    """Take the planes of one input channel into `sums`: 36 sums of squares, then the largest of each plane."""
    zero = vsplat(0, dt)
    for place in range(sums, sums + PLANES * VECTOR_BYTES, VECTOR_BYTES):
        value = vload(kept + place - sums, dt)
        vstore(place, vfma(value, value, vload(place, dt)))
        value = vselect_max(value, zero - value, value, zero - value)
        largest = vload(place + PLANES * VECTOR_BYTES, dt)
        vstore(place + PLANES * VECTOR_BYTES, vselect_max(value, largest, value, largest))


@device
def choose_steps(sums, channels, target, target_plane, dt):
    """Write the steps of a vector of output channels, as products are multiplied by them; factors replace the sums.

    A step is NaN where any element is.
    """
    zero = vsplat(0, dt)
    for plane in range(PLANES):
        place = sums + plane * VECTOR_BYTES
        total, largest = vload(place, dt), vload(place + PLANES * VECTOR_BYTES, dt)
        bound = largest * vsplat(math.sqrt(channels), dt)
        norm = vselect_gt(vsplat(MOST, dt), total, vsqrt(total), bound)
        step = vselect_gt(total, vsplat(LEAST, dt), norm, bound) * vsplat(1 / _NORM_U, dt)
        least = largest * vsplat(1 / _LARGEST, dt)
        step = vselect_max(least, step, least, step)
        vstore(place, vselect_gt(step, vsplat(LEAST_STEP, dt), vsplat(1, dt) / step, zero))
        vstore(target + plane * target_plane, step * vsplat(1 / _BALANCE[plane], dt))


@device
def round_pairs(first, second, factors, target, target_plane, dt):
    """Round the planes of two input channels, to pairs."""
    magic = vsplat(MAGIC, dt)
    for shift in range(0, PLANES * VECTOR_BYTES, VECTOR_BYTES):
        factor = vload(factors + shift, dt)
        low, high = vfma(vload(first + shift, dt), factor, magic), vfma(vload(second + shift, dt), factor, magic)
        store_word_pairs(target, low, high)
        target += target_plane
