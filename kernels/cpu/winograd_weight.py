"""Winograd gradient of the weight, F(3x3, 4x4): 3x3 kernels with stride 1, in float32.

The gradient is a correlation of the input with 4x4 tiles of the output's gradient, so the roles of Lavin and Gray's
transforms turn:

    grad_weight = G^T [ sum over tiles (B^T d B) * (A g A^T) ] G

with the input's patches d (6x6) transformed as in winograd.py, the gradient's tiles g (4x4) to 36 planes by A, and the
sum over tiles a matrix product for each plane, (input channel) x (output channel).

A task owns a block of input channels, a block of output channels and a part of the tiles; parts are added in order by
the kernel that transforms back. Gradients beyond an edge of the map count as zero.

Cost: a quarter of the direct flops in the products; the sums of a plane are read and written once for each block of
tiles.
"""

import functools
from typing import NamedTuple

import numpy as np

from .conv2d_direct import copy_strip
from .gather import ROWS, TILE_VECTORS
from .launch import device, get_num_threads, kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vload, vload_part, vsplat, vstore, vstore_part
from .tile import row_steps, tile_load, tile_multiply_add, tile_store, tile_zero
from .winograd import PATCH, PLANES, TILE, store_six, transform_patch

_BLOCK_TILES = 128
_BLOCK_CHANNELS = 256  # of either side a task: repeated transforms stay below a tenth of the products
_TASKS = 8
_SUM_BYTES = 24 * 1024 * 1024  # of all parts together: within the L3 cache


class WinogradWeightPlan(NamedTuple):
    """Sizes that `conv2d_backward_weight_winograd` needs."""

    batch: int
    in_h: int
    in_w: int
    in_channels: int
    out_h: int
    out_w: int
    out_channels: int
    pad_top: int
    pad_left: int
    tiles_h: int
    tiles_w: int
    tiles: int
    block_tiles: int
    parts: int
    block_in: int
    in_blocks: int
    block_out: int
    out_blocks: int
    row_v: int  # elements between tiles of a plane of the input
    rows: int  # input channels of a plane of sums, whole register tiles
    padded_out: int


@functools.lru_cache(maxsize=1024)
def winograd_weight_plan(x_shape, grad_shape, pad_top, pad_left):
    """Return the plan for float32 arrays of these shapes."""
    width = VECTOR_BYTES // 4
    pair = TILE_VECTORS * width
    batch, in_h, in_w, in_channels = x_shape
    _, out_h, out_w, out_channels = grad_shape
    tiles_h, tiles_w = -(-out_h // TILE), -(-out_w // TILE)
    tiles = batch * tiles_h * tiles_w
    in_blocks = -(-in_channels // _BLOCK_CHANNELS)
    block_in = -(-in_channels // in_blocks)
    out_blocks = -(-out_channels // _BLOCK_CHANNELS)
    block_out = -(-out_channels // (out_blocks * pair)) * pair
    out_blocks = -(-out_channels // block_out)
    rows = -(-block_in // ROWS) * ROWS
    padded_out = out_blocks * block_out
    sum_bytes = PLANES * in_blocks * rows * padded_out * 4
    parts = -(-_TASKS // (in_blocks * out_blocks))
    parts = max(1, min(parts, _SUM_BYTES // sum_bytes, -(-tiles // _BLOCK_TILES)))
    blocks = parts * -(-tiles // (parts * _BLOCK_TILES))
    return WinogradWeightPlan(
        *(batch, in_h, in_w, in_channels, out_h, out_w, out_channels, pad_top, pad_left, tiles_h, tiles_w, tiles),
        *(-(-tiles // blocks), parts, block_in, in_blocks, block_out, out_blocks),
        *(-(-(block_in + ROWS) // width) * width + width, rows, padded_out),
    )


@device
def _gradient_row(g0, g1, g2, g3, dt):
    """A g for one column of a tile of the gradient."""
    two, four, eight = vsplat(2, dt), vsplat(4, dt), vsplat(8, dt)
    even, odd = g0 + g2, g1 + g3
    even2, odd2 = g0 + four * g2, two * g1 + eight * g3
    return g0, even + odd, even - odd, even2 + odd2, even2 - odd2, g3


@device
def _load_cell(place, there, count, dt):
    """`count` channels of one cell, zero if it is not there."""
    if there and count == lanes(dt):
        return vload(place, dt)
    if there:
        return vload_part(place, count, dt)
    return vsplat(0, dt)


@device
def _gradient_column(place, row_bytes, rows, there, count, dt):
    """A g for one column of a tile, of which `rows` cells are in the map."""
    return _gradient_row(
        _load_cell(place, there, count, dt),
        _load_cell(place + row_bytes, there and rows > 1, count, dt),
        _load_cell(place + 2 * row_bytes, there and rows > 2, count, dt),
        _load_cell(place + 3 * row_bytes, there and rows > 3, count, dt),
        dt,
    )


@device
def _transform_gradient(place, row_bytes, pixel_bytes, rows, cols, target, plane_bytes, count, dt):
    """A g A^T of one tile and vector of channels; `rows` x `cols` cells of the tile are in the map."""
    a = _gradient_column(place, row_bytes, rows, True, count, dt)
    b = _gradient_column(place + pixel_bytes, row_bytes, rows, cols > 1, count, dt)
    e = _gradient_column(place + 2 * pixel_bytes, row_bytes, rows, cols > 2, count, dt)
    f = _gradient_column(place + 3 * pixel_bytes, row_bytes, rows, cols > 3, count, dt)
    store_six(target, plane_bytes, _gradient_row(a[0], b[0], e[0], f[0], dt))
    store_six(target + 6 * plane_bytes, plane_bytes, _gradient_row(a[1], b[1], e[1], f[1], dt))
    store_six(target + 12 * plane_bytes, plane_bytes, _gradient_row(a[2], b[2], e[2], f[2], dt))
    store_six(target + 18 * plane_bytes, plane_bytes, _gradient_row(a[3], b[3], e[3], f[3], dt))
    store_six(target + 24 * plane_bytes, plane_bytes, _gradient_row(a[4], b[4], e[4], f[4], dt))
    store_six(target + 30 * plane_bytes, plane_bytes, _gradient_row(a[5], b[5], e[5], f[5], dt))


@device
def _transform_block(x, grad, values, gradients, patch, first, tiles, channel_in, channels_in, channel, outs, plan, dt):
    """Both transforms of a block of tiles."""
    size = itemsize(dt)
    width = lanes(dt)
    pair = TILE_VECTORS * width
    out_bytes = plan.out_channels * size
    for t in range(tiles):
        image, place = divmod(first + t, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        h0, w0 = i * TILE - plan.pad_top, j * TILE - plan.pad_left
        target = values + t * plan.row_v * size
        plane_bytes = plan.block_tiles * plan.row_v * size
        if h0 >= 0 and w0 >= 0 and h0 + PATCH <= plan.in_h and w0 + PATCH <= plan.in_w:
            pixel = plan.in_channels * size
            source = x + ((image * plan.in_h + h0) * plan.in_w + w0) * pixel + channel_in * size
            transform_patch(source, plan.in_w * pixel, pixel, target, plane_bytes, channels_in, dt)
        else:
            copy_strip(
                patch,
                x,
                image,
                plan.in_h,
                plan.in_w,
                plan.in_channels,
                h0,
                w0,
                PATCH,
                PATCH,
                channel_in,
                channels_in,
                dt,
            )
            pixel = channels_in * size
            transform_patch(patch, PATCH * pixel, pixel, target, plane_bytes, channels_in, dt)
        rows, cols = min(TILE, plan.out_h - i * TILE), min(TILE, plan.out_w - j * TILE)
        source = grad + ((image * plan.out_h + i * TILE) * plan.out_w + j * TILE) * out_bytes + channel * size
        plane_bytes = plan.block_tiles * plan.block_out * size
        for k in range(0, plan.block_out, width):
            count = min(width, outs - k)
            place = gradients + (k // pair * plan.block_tiles * pair + t * pair + k % pair) * size
            if count > 0:
                row_bytes = plan.out_w * out_bytes
                _transform_gradient(source + k * size, row_bytes, out_bytes, rows, cols, place, plane_bytes, count, dt)
            else:
                for plane in range(PLANES):
                    vstore(place + plane * plane_bytes, vsplat(0, dt))


@device
def _multiply_planes(values, gradients, sums, tiles, channels_in, first, plan, dt):
    """Add the products of a block of tiles to the sums of every plane; the first block starts from zero."""
    size = itemsize(dt)
    pair = TILE_VECTORS * lanes(dt)
    row_v, row_sum = plan.row_v * size, plan.padded_out * size
    plane_sums = plan.in_blocks * plan.rows * row_sum
    for plane in range(PLANES):
        source = values + plane * plan.block_tiles * row_v
        for k in range(0, plan.block_out, pair):
            column = gradients + (plane * plan.block_out + k) * plan.block_tiles * size
            target = sums + plane * plane_sums + k * size
            for c in range(0, channels_in, ROWS):
                targets = row_steps(ROWS, target + c * row_sum, row_sum)
                acc = tile_zero(ROWS, TILE_VECTORS, dt)
                if not first:
                    acc = tile_load(acc, targets)
                rows = row_steps(ROWS, source + c * size, size)
                place = column
                for shift in range(0, tiles * row_v, row_v):
                    acc = tile_multiply_add(acc, rows, shift, place)
                    place += TILE_VECTORS * VECTOR_BYTES
                tile_store(acc, targets)


@kernel
def conv2d_backward_weight_winograd(begin, end, scratch, grad, x, sums, plan):
    """One block of the weight and one part of the tiles a task."""
    dt = x.dtype
    size = itemsize(dt)
    values = address(scratch)
    gradients = values + PLANES * plan.block_tiles * plan.row_v * size
    patch = gradients + PLANES * plan.block_tiles * plan.block_out * size
    part_elements = PLANES * plan.in_blocks * plan.rows * plan.padded_out
    blocks = (plan.tiles + plan.block_tiles - 1) // plan.block_tiles
    for task in range(begin, end):
        part = task % plan.parts
        out_block = task // plan.parts % plan.out_blocks
        in_block = task // (plan.parts * plan.out_blocks)
        channel_in, channel = in_block * plan.block_in, out_block * plan.block_out
        channels_in = min(plan.block_in, plan.in_channels - channel_in)
        outs = min(plan.block_out, plan.out_channels - channel)
        target = part * part_elements + in_block * plan.rows * plan.padded_out + channel
        first_block = part * blocks // plan.parts
        for block in range(first_block, (part + 1) * blocks // plan.parts):
            first = block * plan.block_tiles
            tiles = min(plan.block_tiles, plan.tiles - first)
            _transform_block(
                address(x),
                address(grad),
                values,
                gradients,
                patch,
                first,
                tiles,
                channel_in,
                channels_in,
                channel,
                outs,
                plan,
                dt,
            )
            start = address(sums) + target * size
            _multiply_planes(values, gradients, start, tiles, channels_in, block == first_block, plan, dt)


@device
def _weight_column(m0, m1, m2, m3, m4, m5, dt):
    """G^T m for one column of sums."""
    quarter, sixth, twenty_fourth = vsplat(1 / 4, dt), vsplat(1 / 6, dt), vsplat(1 / 24, dt)
    twelfth = vsplat(1 / 12, dt)
    s1, d1, s2, d2 = m1 + m2, m2 - m1, m3 + m4, m3 - m4
    return (
        quarter * m0 - sixth * s1 + twenty_fourth * s2,
        sixth * d1 + twelfth * d2,
        sixth * (s2 - s1) + m5,
    )


@device
def _sum_of_parts(place, part_bytes, parts, dt):
    total = vload(place, dt)
    for part in range(1, parts):
        total = total + vload(place + part * part_bytes, dt)
    return total


@device
def _summed_column(place, plane, part, parts, dt):
    """G^T m for the column of sums at `place`, the parts added in order."""
    step = 6 * plane
    return _weight_column(
        _sum_of_parts(place, part, parts, dt),
        _sum_of_parts(place + step, part, parts, dt),
        _sum_of_parts(place + 2 * step, part, parts, dt),
        _sum_of_parts(place + 3 * step, part, parts, dt),
        _sum_of_parts(place + 4 * step, part, parts, dt),
        _sum_of_parts(place + 5 * step, part, parts, dt),
        dt,
    )


@device
def _store_taps(place, tap, values, count):
    vstore_part(place, values[0], count)
    vstore_part(place + tap, values[1], count)
    vstore_part(place + 2 * tap, values[2], count)


@kernel
def transform_sums(begin, end, sums, out, plan):
    """grad_weight = G^T (sum of the parts, in order) G."""
    dt = out.dtype
    size = itemsize(dt)
    width = lanes(dt)
    plane = plan.in_blocks * plan.rows * plan.padded_out * size
    part = PLANES * plane
    tap = plan.in_channels * plan.out_channels * size
    for c in range(begin, end):  # one input channel
        row = c // plan.block_in * plan.rows + c % plan.block_in
        for k in range(0, plan.out_channels, width):
            block = k // plan.block_out * plan.block_out
            place = address(sums) + (row * plan.padded_out + block + k % plan.block_out) * size
            a = _summed_column(place, plane, part, plan.parts, dt)
            b = _summed_column(place + plane, plane, part, plan.parts, dt)
            e = _summed_column(place + 2 * plane, plane, part, plan.parts, dt)
            f = _summed_column(place + 3 * plane, plane, part, plan.parts, dt)
            g = _summed_column(place + 4 * plane, plane, part, plan.parts, dt)
            h = _summed_column(place + 5 * plane, plane, part, plan.parts, dt)
            target = address(out) + (c * plan.out_channels + k) * size
            count = min(width, plan.out_channels - k)
            _store_taps(target, tap, _weight_column(a[0], b[0], e[0], f[0], g[0], h[0], dt), count)
            _store_taps(target + 3 * tap, tap, _weight_column(a[1], b[1], e[1], f[1], g[1], h[1], dt), count)
            _store_taps(target + 6 * tap, tap, _weight_column(a[2], b[2], e[2], f[2], g[2], h[2], dt), count)


def backward_weight(grad_output, x, pad_top, pad_left, out, workspace):
    """Launch the products and the transform back."""
    plan = winograd_weight_plan(x.shape, grad_output.shape, pad_top, pad_left)
    elements = PLANES * (plan.block_tiles * (plan.row_v + plan.block_out) + plan.block_in) + VECTOR_BYTES
    scratch = workspace.empty((get_num_threads(), elements), x.dtype)
    sums = workspace.empty((plan.parts, PLANES, plan.in_blocks * plan.rows, plan.padded_out), np.float32)
    tasks = plan.in_blocks * plan.out_blocks * plan.parts
    launch(conv2d_backward_weight_winograd, tasks, grad_output, x, sums, plan, scratch=scratch)
    launch(transform_sums, plan.in_channels, sums, out, plan)
