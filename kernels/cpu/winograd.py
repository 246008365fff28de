"""Winograd convolution F(4x4, 3x3): forward and backward-input of 3x3 kernels with stride 1, in float32.

A 6x6 patch of the input gives 4x4 outputs with 36 multiplications for each pair of channels instead of 144:

    Y = A^T [ sum over c of (G g G^T) * (B^T d B) ] A        (Lavin and Gray, https://arxiv.org/abs/1509.09308, points
    0, 1, -1, 2, -2, inf)

Backward-input is the same sum with the weight turned by 180 degrees, channels exchanged and padding 2 - p.

A task is a block of about 64 tiles and, where there are few of those, a part of the output channels. It transforms its
patches into 36 planes (tile, input channel), multiplies each plane with the transformed weight (tiles of ROWS x two
vectors, as everywhere), and transforms the 36 products of each tile and output channel back, adding the bias. Patches
inside the image are read in place, others through a padded copy; outputs beyond an edge are not written. Plane by plane
the operands stay in the L2 cache.

Cost: a quarter of the direct flops in the products, plus about 100 vector instructions a patch and channel vector for
each transform. Error: larger than direct, see kernels/README.md; strict precision never comes here.
"""

import functools
from typing import NamedTuple

from .conv2d_direct import copy_strip
from .gather import ROWS, TILE_VECTORS
from .launch import device, get_num_threads, kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vload, vload_part, vsplat, vstore, vstore_part
from .tile import row_steps, tile_multiply_add, tile_store, tile_zero

TILE = 4  # outputs along one side
PATCH = 6  # inputs
PLANES = PATCH * PATCH
_BLOCK_TILES = 64
_TASKS = 4  # splitting output channels repeats the transform of the input, so only as far as needed


class WinogradPlan(NamedTuple):
    """Sizes that `conv2d_winograd` needs."""

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
    blocks: int
    splits: int
    split_channels: int
    row_v: int  # elements between tiles of a plane of the input
    row_m: int  # and of the products; one vector more than needed, so that rows spread over the sets of the cache
    rows: int  # rows of a plane, whole register tiles


@functools.lru_cache(maxsize=1024)
def winograd_plan(x_shape, out_shape, pad_top, pad_left):
    """Return the plan for these shapes in float32, with the padding before the first row and column."""
    width = VECTOR_BYTES // 4
    batch, in_h, in_w, in_channels = x_shape
    _, out_h, out_w, out_channels = out_shape
    tiles_h, tiles_w = -(-out_h // TILE), -(-out_w // TILE)
    tiles = batch * tiles_h * tiles_w
    blocks = max(1, -(-tiles // _BLOCK_TILES))
    block_tiles = -(-tiles // blocks)
    pair = TILE_VECTORS * width
    pairs = -(-out_channels // pair)
    splits = max(1, min(pairs, _TASKS // blocks))
    split_channels = -(-pairs // splits) * pair
    splits = -(-out_channels // split_channels)
    return WinogradPlan(
        *(batch, in_h, in_w, in_channels, out_h, out_w, out_channels, pad_top, pad_left),
        *(tiles_h, tiles_w, tiles, block_tiles, blocks, splits, split_channels),
        *(-(-in_channels // width) * width + width, split_channels + width, -(-block_tiles // ROWS) * ROWS),
    )


def winograd_size(in_channels, out_channels):
    """Return the elements of a transformed weight."""
    pair = TILE_VECTORS * VECTOR_BYTES // 4
    return PLANES * in_channels * (-(-out_channels // pair) * pair)


@device
def _input_row(d0, d1, d2, d3, d4, d5, dt):
    """B^T d for one column of a patch."""
    two, four, five = vsplat(2, dt), vsplat(4, dt), vsplat(5, dt)
    even, odd = d4 - four * d2, d3 - four * d1
    even2, odd2 = d4 - d2, two * (d3 - d1)
    return four * d0 - five * d2 + d4, even + odd, even - odd, even2 + odd2, even2 - odd2, four * d1 - five * d3 + d5


@device
def _output_row(m0, m1, m2, m3, m4, m5, dt):
    """A^T m for one column of products."""
    two, four, eight = vsplat(2, dt), vsplat(4, dt), vsplat(8, dt)
    s1, d1, s2, d2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + s1 + s2, d1 + two * d2, s1 + four * s2, d1 + eight * d2 + m5


@device
def _weight_row(g0, g1, g2, dt):
    """G g for one column of a kernel."""
    quarter, sixth, twenty_fourth = vsplat(1 / 4, dt), vsplat(1 / 6, dt), vsplat(1 / 24, dt)
    twelfth = vsplat(1 / 12, dt)
    even = g0 + g2
    outer = twenty_fourth * g0 + sixth * g2
    zero = vsplat(0, dt)
    return (
        quarter * g0,
        zero - sixth * (even + g1),
        sixth * (g1 - even),
        outer + twelfth * g1,
        outer - twelfth * g1,
        g2,
    )


@device
def store_six(place, step, values):
    """Write six vectors, `step` bytes apart."""
    vstore(place, values[0])
    vstore(place + step, values[1])
    vstore(place + 2 * step, values[2])
    vstore(place + 3 * step, values[3])
    vstore(place + 4 * step, values[4])
    vstore(place + 5 * step, values[5])


@device
def _load_column(place, row_bytes, count, dt):
    """Six elements of a column of a patch, `count` channels each."""
    if count == lanes(dt):
        return (
            vload(place, dt),
            vload(place + row_bytes, dt),
            vload(place + 2 * row_bytes, dt),
            vload(place + 3 * row_bytes, dt),
            vload(place + 4 * row_bytes, dt),
            vload(place + 5 * row_bytes, dt),
        )
    return (
        vload_part(place, count, dt),
        vload_part(place + row_bytes, count, dt),
        vload_part(place + 2 * row_bytes, count, dt),
        vload_part(place + 3 * row_bytes, count, dt),
        vload_part(place + 4 * row_bytes, count, dt),
        vload_part(place + 5 * row_bytes, count, dt),
    )


@device
def transform_patch(patch, row_bytes, pixel_bytes, target, plane_bytes, channels, dt):
    """V = B^T d B for all channels of one patch; plane p of the tile is at target + p * plane_bytes."""
    size = itemsize(dt)
    width = lanes(dt)
    for c in range(0, channels, width):
        count = min(width, channels - c)
        place = patch + c * size
        a = _input_row(*_load_column(place, row_bytes, count, dt), dt)
        b = _input_row(*_load_column(place + pixel_bytes, row_bytes, count, dt), dt)
        e = _input_row(*_load_column(place + 2 * pixel_bytes, row_bytes, count, dt), dt)
        f = _input_row(*_load_column(place + 3 * pixel_bytes, row_bytes, count, dt), dt)
        g = _input_row(*_load_column(place + 4 * pixel_bytes, row_bytes, count, dt), dt)
        h = _input_row(*_load_column(place + 5 * pixel_bytes, row_bytes, count, dt), dt)
        plane = target + c * size
        store_six(plane, plane_bytes, _input_row(a[0], b[0], e[0], f[0], g[0], h[0], dt))
        store_six(plane + 6 * plane_bytes, plane_bytes, _input_row(a[1], b[1], e[1], f[1], g[1], h[1], dt))
        store_six(plane + 12 * plane_bytes, plane_bytes, _input_row(a[2], b[2], e[2], f[2], g[2], h[2], dt))
        store_six(plane + 18 * plane_bytes, plane_bytes, _input_row(a[3], b[3], e[3], f[3], g[3], h[3], dt))
        store_six(plane + 24 * plane_bytes, plane_bytes, _input_row(a[4], b[4], e[4], f[4], g[4], h[4], dt))
        store_six(plane + 30 * plane_bytes, plane_bytes, _input_row(a[5], b[5], e[5], f[5], g[5], h[5], dt))


@device
def _store_row(place, pixel_bytes, y, bias, cols, count, dt):
    """Write up to four outputs of a row, `count` channels each."""
    if cols == TILE and count == lanes(dt):
        vstore(place, y[0] + bias)
        vstore(place + pixel_bytes, y[1] + bias)
        vstore(place + 2 * pixel_bytes, y[2] + bias)
        vstore(place + 3 * pixel_bytes, y[3] + bias)
        return
    vstore_part(place, y[0] + bias, count)
    if cols > 1:
        vstore_part(place + pixel_bytes, y[1] + bias, count)
    if cols > 2:
        vstore_part(place + 2 * pixel_bytes, y[2] + bias, count)
    if cols > 3:
        vstore_part(place + 3 * pixel_bytes, y[3] + bias, count)


@device
def _transform_products(products, plane_bytes, target, row_bytes, pixel_bytes, rows, cols, channels, bias, dt):
    """Y = A^T M A for all channels of one tile; `rows` x `cols` of its outputs lie in the image."""
    size = itemsize(dt)
    width = lanes(dt)
    full = width
    for k in range(0, channels, width):
        count = min(width, channels - k)
        place = products + k * size
        step = 6 * plane_bytes
        a = _output_row(*_load_column(place, step, full, dt), dt)
        b = _output_row(*_load_column(place + plane_bytes, step, full, dt), dt)
        e = _output_row(*_load_column(place + 2 * plane_bytes, step, full, dt), dt)
        f = _output_row(*_load_column(place + 3 * plane_bytes, step, full, dt), dt)
        g = _output_row(*_load_column(place + 4 * plane_bytes, step, full, dt), dt)
        h = _output_row(*_load_column(place + 5 * plane_bytes, step, full, dt), dt)
        start = vsplat(0, dt)
        if bias != 0:
            start = vload_part(bias + k * size, count, dt)
        y = target + k * size
        _store_row(y, pixel_bytes, _output_row(a[0], b[0], e[0], f[0], g[0], h[0], dt), start, cols, count, dt)
        if rows > 1:
            y += row_bytes
            _store_row(y, pixel_bytes, _output_row(a[1], b[1], e[1], f[1], g[1], h[1], dt), start, cols, count, dt)
        if rows > 2:
            y += row_bytes
            _store_row(y, pixel_bytes, _output_row(a[2], b[2], e[2], f[2], g[2], h[2], dt), start, cols, count, dt)
        if rows > 3:
            y += row_bytes
            _store_row(y, pixel_bytes, _output_row(a[3], b[3], e[3], f[3], g[3], h[3], dt), start, cols, count, dt)


@device
def _transform_inputs(x, values, patch, first, tiles, plan, dt):
    """Transform the patches of a block of tiles into the planes at `values`."""
    size = itemsize(dt)
    plane_bytes = plan.rows * plan.row_v * size
    pixel_bytes = plan.in_channels * size
    for t in range(tiles):
        image, place = divmod(first + t, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        h0, w0 = i * TILE - plan.pad_top, j * TILE - plan.pad_left
        target = values + t * plan.row_v * size
        if h0 >= 0 and w0 >= 0 and h0 + PATCH <= plan.in_h and w0 + PATCH <= plan.in_w:
            source = x + ((image * plan.in_h + h0) * plan.in_w + w0) * pixel_bytes
            transform_patch(source, plan.in_w * pixel_bytes, pixel_bytes, target, plane_bytes, plan.in_channels, dt)
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
                0,
                plan.in_channels,
                dt,
            )
            transform_patch(patch, PATCH * pixel_bytes, pixel_bytes, target, plane_bytes, plan.in_channels, dt)


@device
def _multiply_planes(values, weights, products, tiles, channels, plan, dt):
    """M = V U for every plane, the output channels of one part; `weights` is at that part's first pair of vectors."""
    size = itemsize(dt)
    width = lanes(dt)
    pair = TILE_VECTORS * width
    pairs = (plan.out_channels + pair - 1) // pair
    row_v, row_m = plan.row_v * size, plan.row_m * size
    for plane in range(PLANES):
        source = values + plane * plan.rows * row_v
        target = products + plane * plan.rows * row_m
        for k in range(0, channels, pair):
            block = weights + (plane * pairs * pair + k) * plan.in_channels * size
            for t in range(0, tiles, ROWS):
                rows = row_steps(ROWS, source + t * row_v, row_v)
                place = block
                acc = tile_zero(ROWS, TILE_VECTORS, dt)
                for shift in range(0, plan.in_channels * size, size):
                    acc = tile_multiply_add(acc, rows, shift, place)
                    place += TILE_VECTORS * VECTOR_BYTES
                tile_store(acc, row_steps(ROWS, target + t * row_m + k * size, row_m))


@device
def _transform_outputs(products, out, bias, first, tiles, channel, channels, plan, dt):
    """Transform the products of a block of tiles into `out`, from output channel `channel` on."""
    size = itemsize(dt)
    plane_bytes = plan.rows * plan.row_m * size
    pixel_bytes = plan.out_channels * size
    for t in range(tiles):
        image, place = divmod(first + t, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        h, w = i * TILE, j * TILE
        rows, cols = min(TILE, plan.out_h - h), min(TILE, plan.out_w - w)
        target = out + ((image * plan.out_h + h) * plan.out_w + w) * pixel_bytes + channel * size
        source = products + t * plan.row_m * size
        row_bytes = plan.out_w * pixel_bytes
        _transform_products(source, plane_bytes, target, row_bytes, pixel_bytes, rows, cols, channels, bias, dt)


@kernel
def conv2d_winograd(begin, end, scratch, x, weights, bias, out, plan):
    """One block of tiles, and one part of the output channels, a task."""
    dt = x.dtype
    size = itemsize(dt)
    values = address(scratch)
    products = values + PLANES * plan.rows * plan.row_v * size
    patch = products + PLANES * plan.rows * plan.row_m * size
    for task in range(begin, end):
        channel = task % plan.splits * plan.split_channels
        channels = min(plan.split_channels, plan.out_channels - channel)
        first = task // plan.splits * plan.block_tiles
        tiles = min(plan.block_tiles, plan.tiles - first)
        bias_place = address(bias) + channel * size if bias.size else 0
        _transform_inputs(address(x), values, patch, first, tiles, plan, dt)
        part = address(weights) + channel * plan.in_channels * size
        _multiply_planes(values, part, products, tiles, channels, plan, dt)
        _transform_outputs(products, address(out), bias_place, first, tiles, channel, channels, plan, dt)


@kernel
def transform_weight(begin, end, packed, weights, in_channels, pairs):
    """U = G g G^T from a packed weight (pack.py), into [plane][pair of vectors][input channel][two vectors]."""
    dt = packed.dtype
    size = itemsize(dt)
    width = lanes(dt)
    vectors = packed.size // (9 * in_channels * width)
    paired = vectors // TILE_VECTORS * TILE_VECTORS
    plane_bytes = pairs * in_channels * TILE_VECTORS * width * size
    for task in range(begin, end):  # one vector of output channels, all input channels
        lone = task >= paired
        per_block = 1 if lone else TILE_VECTORS
        block = address(packed) + (task - task % per_block) * 9 * in_channels * width * size
        target = address(weights) + task // TILE_VECTORS * in_channels * TILE_VECTORS * width * size
        target += task % TILE_VECTORS * width * size
        step = per_block * width * size
        tap = in_channels * step
        for c in range(in_channels):
            g = block + c * step + task % per_block * width * size
            a = _weight_row(vload(g, dt), vload(g + 3 * tap, dt), vload(g + 6 * tap, dt), dt)
            b = _weight_row(vload(g + tap, dt), vload(g + 4 * tap, dt), vload(g + 7 * tap, dt), dt)
            e = _weight_row(vload(g + 2 * tap, dt), vload(g + 5 * tap, dt), vload(g + 8 * tap, dt), dt)
            place = target + c * TILE_VECTORS * width * size
            store_six(place, plane_bytes, _weight_row(a[0], b[0], e[0], dt))
            store_six(place + 6 * plane_bytes, plane_bytes, _weight_row(a[1], b[1], e[1], dt))
            store_six(place + 12 * plane_bytes, plane_bytes, _weight_row(a[2], b[2], e[2], dt))
            store_six(place + 18 * plane_bytes, plane_bytes, _weight_row(a[3], b[3], e[3], dt))
            store_six(place + 24 * plane_bytes, plane_bytes, _weight_row(a[4], b[4], e[4], dt))
            store_six(place + 30 * plane_bytes, plane_bytes, _weight_row(a[5], b[5], e[5], dt))
            if lone and task % TILE_VECTORS == 0:  # no partner: its half of the pair must not hold anything
                for plane in range(PLANES):
                    vstore(place + width * size + plane * plane_bytes, vsplat(0, dt))


def prepare(packed, in_channels, out_channels, workspace):
    """Return the transformed weight, from one packed in a single block of input channels."""
    weights = workspace.empty((winograd_size(in_channels, out_channels),), packed.dtype)
    width = VECTOR_BYTES // 4
    vectors = -(-out_channels // width)
    pairs = -(-vectors // TILE_VECTORS)
    launch(transform_weight, vectors, packed, weights, in_channels, pairs)
    return weights


def run(x, weights, bias, pad_top, pad_left, out, workspace):
    """Launch the convolution of `x` with a transformed weight."""
    plan = winograd_plan(x.shape, out.shape, pad_top, pad_left)
    if not plan.tiles:
        return
    elements = PLANES * (plan.rows * (plan.row_v + plan.row_m) + plan.in_channels)
    scratch = workspace.empty((get_num_threads(), elements + VECTOR_BYTES), x.dtype)
    launch(conv2d_winograd, plan.blocks * plan.splits, x, weights, bias, out, plan, scratch=scratch)
