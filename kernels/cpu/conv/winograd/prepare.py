"""Weights of the Winograd convolution: U = G g G^T, in the order in which the products read them.

Bound by memory: a read of the weight and a write of four times as much, with wide tiles of nearly seven times.
"""

import math

import numpy as np

from ...runtime.launch import device, kernel, launch
from ...vector.fixed_point import FIXED, WORD_BYTES
from ...vector.memory import load
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vsplat, vstore
from ...vector.stack import stack_vectors
from ...vector.tile import TILE_VECTORS
from .fixed_point import add_squares, choose_steps, round_pairs
from .transforms import PATCHES, PLANES, SMALL, SQUARE, WIDE, plane_elements, small_weight_row, store_six, weight_row
from .wide_transforms import WIDE_PATCH, store_weight_row, wide_weight_column

_TWICE = 2 * PLANES


def weight_plane(in_channels, vectors, fixed):
    """Return the elements from plane to plane of a group of `vectors` vectors of output channels.

    If `fixed`, words: a row holds pairs of input channels, and the last one the steps.
    """
    if fixed:
        return plane_elements((in_channels + 1) // 2 + 1, vectors * VECTOR_BYTES // WORD_BYTES, WORD_BYTES)
    return plane_elements(in_channels, vectors * VECTOR_BYTES // 4)


def weight_groups(out_channels):
    """Return the vectors of a register tile and the number of such groups of output channels."""
    width = VECTOR_BYTES // 4
    vectors = min(TILE_VECTORS, -(-out_channels // width))
    return vectors, -(-out_channels // (vectors * width))


@device
def _weight_column(place, tap, small, count, dt):
    """G g for one column of a kernel of `count` channels; `tap` bytes from row to row."""
    if small:
        return small_weight_row(
            load(place, count, dt),
            load(place + tap, count, dt),
            load(place + 2 * tap, count, dt),
            load(place + 3 * tap, count, dt),
            load(place + 4 * tap, count, dt),
            dt,
        )
    return weight_row(load(place, count, dt), load(place + tap, count, dt), load(place + 2 * tap, count, dt), dt)


@device
def _transform_kernel(g, tap, small, count, place, plane_bytes, dt):
    """G g G^T of one input channel and vector of output channels; `tap` bytes from tap to tap."""
    line = (5 if small else 3) * tap
    a = _weight_column(g, line, small, count, dt)
    b = _weight_column(g + tap, line, small, count, dt)
    e = _weight_column(g + 2 * tap, line, small, count, dt)
    f, h = e, e
    if small:
        f = _weight_column(g + 3 * tap, line, small, count, dt)
        h = _weight_column(g + 4 * tap, line, small, count, dt)
    step = 6 * plane_bytes
    if small:
        store_six(place, plane_bytes, small_weight_row(a[0], b[0], e[0], f[0], h[0], dt))
        store_six(place + step, plane_bytes, small_weight_row(a[1], b[1], e[1], f[1], h[1], dt))
        store_six(place + 2 * step, plane_bytes, small_weight_row(a[2], b[2], e[2], f[2], h[2], dt))
        store_six(place + 3 * step, plane_bytes, small_weight_row(a[3], b[3], e[3], f[3], h[3], dt))
        store_six(place + 4 * step, plane_bytes, small_weight_row(a[4], b[4], e[4], f[4], h[4], dt))
        store_six(place + 5 * step, plane_bytes, small_weight_row(a[5], b[5], e[5], f[5], h[5], dt))
    else:
        store_six(place, plane_bytes, weight_row(a[0], b[0], e[0], dt))
        store_six(place + step, plane_bytes, weight_row(a[1], b[1], e[1], dt))
        store_six(place + 2 * step, plane_bytes, weight_row(a[2], b[2], e[2], dt))
        store_six(place + 3 * step, plane_bytes, weight_row(a[3], b[3], e[3], dt))
        store_six(place + 4 * step, plane_bytes, weight_row(a[4], b[4], e[4], dt))
        store_six(place + 5 * step, plane_bytes, weight_row(a[5], b[5], e[5], dt))


@device
def _wide_column(g, line, count, dt):
    return wide_weight_column(load(g, count, dt), load(g + line, count, dt), load(g + 2 * line, count, dt), dt)


@device
def _transform_wide(g, tap, count, place, plane_bytes, dt):
    """G g G^T for wide tiles; see `_transform_kernel`."""
    a, b = _wide_column(g, 3 * tap, count, dt), _wide_column(g + tap, 3 * tap, count, dt)
    e = _wide_column(g + 2 * tap, 3 * tap, count, dt)
    step = WIDE_PATCH * plane_bytes
    store_weight_row(a[0], b[0], e[0], place, plane_bytes, dt)
    store_weight_row(a[1], b[1], e[1], place + step, plane_bytes, dt)
    store_weight_row(a[2], b[2], e[2], place + 2 * step, plane_bytes, dt)
    store_weight_row(a[3], b[3], e[3], place + 3 * step, plane_bytes, dt)
    store_weight_row(a[4], b[4], e[4], place + 4 * step, plane_bytes, dt)
    store_weight_row(a[5], b[5], e[5], place + 5 * step, plane_bytes, dt)


@device
def _clear(target, plane_bytes, planes, rows, row_bytes, dt):
    """Write zeros where the last group's missing partner would be."""
    for plane in range(planes):
        for c in range(rows):
            vstore(target + plane * plane_bytes + c * row_bytes, vsplat(0, dt))


def _make_transform_fixed(small):
    """Make the transform of a vector of output channels in fixed point, of a 5x5 kernel if `small`."""

    @device
    def transform_fixed(source, count, target, plane_bytes, row_bytes, in_channels, dt):
        """Transform twice, to know how large the planes are: cheaper than to keep them (512x512: 1.2 MB a vector).

        `source` is the first element, and bytes from input channel to input channel and from tap to tap.
        """
        first, step, tap = source
        sums, kept = stack_vectors(_TWICE, dt), stack_vectors(_TWICE, dt)
        other = kept + PLANES * VECTOR_BYTES
        for i in range(0, _TWICE * VECTOR_BYTES, VECTOR_BYTES):
            vstore(sums + i, vsplat(0, dt))
        for c in range(in_channels):
            _transform_kernel(first + c * step, tap, small, count, kept, VECTOR_BYTES, dt)
            add_squares(kept, sums, dt)
        choose_steps(sums, in_channels, target + (in_channels + 1) // 2 * row_bytes, plane_bytes, dt)
        for c in range(0, in_channels, 2):
            second = count * (c + 1 < in_channels)
            _transform_kernel(first + c * step, tap, small, count, kept, VECTOR_BYTES, dt)
            _transform_kernel(first + (c + 1) * step, tap, small, second, other, VECTOR_BYTES, dt)
            round_pairs(kept, other, sums, target, plane_bytes, dt)
            target += row_bytes

    return transform_fixed


def _make_transform(tile, name):
    """Make the kernel for one form of tiles."""
    small, wide = tile == SMALL, tile == WIDE
    taps, planes = 25 if small else 9, math.prod(PATCHES[tile])
    transform_fixed = _make_transform_fixed(small)

    def transform(begin, end, source, weights, in_channels, out_channels, vectors, groups, packed):
        dt = source.dtype
        size = itemsize(dt)
        width = lanes(dt)
        filled = (out_channels + width - 1) // width
        paired = out_channels // (width * TILE_VECTORS) * TILE_VECTORS  # as conv/pack.py: whole pairs of whole vectors
        plane_bytes = weights.size // (groups * planes) * itemsize(weights.dtype)
        row = vectors * VECTOR_BYTES
        for task in range(begin, end):  # one vector of output channels, all input channels
            group, v = task // vectors, task % vectors
            target = address(weights) + group * planes * plane_bytes + v * VECTOR_BYTES
            if task >= filled:
                rows = in_channels if itemsize(weights.dtype) == size else (in_channels + 1) // 2 + 1
                _clear(target, plane_bytes, planes, rows, row, dt)
                continue
            first, step, count = address(source) + task * width * size, out_channels * size, out_channels - task * width
            if packed:
                per_block = 1 if task >= paired else TILE_VECTORS
                step, count = per_block * width * size, width
                start = (task - task % per_block) * taps * in_channels + task % per_block
                first = address(source) + start * width * size
            count, tap = min(count, width), in_channels * step
            if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
                if itemsize(weights.dtype) == WORD_BYTES:
                    transform_fixed((first, step, tap), count, target, plane_bytes, row, in_channels, dt)
                    continue
            for c in range(in_channels):
                if wide:
                    _transform_wide(first + c * step, tap, count, target + c * row, plane_bytes, dt)
                else:
                    _transform_kernel(first + c * step, tap, small, count, target + c * row, plane_bytes, dt)

    transform.__name__ = name
    return kernel(transform)


transform_weight = _make_transform(SQUARE, "transform_weight")
transform_weight_5x5 = _make_transform(SMALL, "transform_weight_5x5")
transform_weight_wide = _make_transform(WIDE, "transform_weight_wide")
_KERNELS = {SQUARE: transform_weight, SMALL: transform_weight_5x5, WIDE: transform_weight_wide}


def prepare(source, tile, in_channels, out_channels, workspace, *, packed, fixed):
    """Return U in the order [group][plane][input channel][vectors of the group]; in pairs of channels if `fixed`.

    `source` is the weight itself, (R, S, in, out), or what conv/pack.py makes of a transposed one, as a single block.
    """
    vectors, groups = weight_groups(out_channels)
    elements = math.prod(PATCHES[tile]) * groups * weight_plane(in_channels, vectors, fixed)
    weights = workspace.empty((elements,), np.int16 if fixed else source.dtype)
    sizes = (in_channels, out_channels, vectors, groups, packed)
    launch(_KERNELS[tile], vectors * groups, source.reshape(-1), weights, *sizes)
    return weights
