"""Winograd convolution F(4x4, 3x3): forward and backward-input of 3x3 kernels with stride 1, in float32.

A 6x6 patch of the input gives 4x4 outputs with 36 multiplications for each pair of channels instead of 144, see
winograd_transforms.py. Backward-input is the same sum with the weight turned by 180 degrees, channels exchanged and
padding 2 - p.

A task is a block of tiles. It transforms their patches into 36 planes (tile, input channel); then for each pair of
vectors of output channels it multiplies every plane with the transformed weight (register tiles of ROWS tiles x two
vectors, as everywhere) and transforms the 36 products of each tile back, adding the bias. So the products of a block
take 36 * tiles * 128 bytes and stay in the L2 cache with the planes, while the weight streams through it. Where the
weight outgrows the L3 cache, or there are few tiles, the planes of all tiles come first, in a launch of their own, and
a task is a part of the output channels over many tiles, so that the weight is read once.

Cost: a quarter of the direct flops in the products, plus some 150 vector instructions a patch and channel vector for
each transform. Error: larger than direct, see kernels/README.md; strict precision never comes here.
"""

import functools
from typing import NamedTuple

from .gather import ROWS, TILE_VECTORS
from .launch import device, get_num_threads, kernel, launch
from .simd import (
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    vload,
    vload_part,
    vselect_not_le,
    vsplat,
    vstore,
    vstore_part,
    vstore_stream,
)
from .tile import row_steps, tile_multiply_add, tile_store, tile_zero
from .winograd_transforms import (
    PATCH,
    PLANES,
    TILE,
    output_row,
    patch_rows,
    plane_elements,
    prefetch_patch,
    store_six,
    transform_patch,
    weight_row,
)

_PLANES_BYTES = 500 * 1024  # of a block's transformed input: with products and weight within the L2 cache
_SHARED_TILES = 128  # of a block whose planes come from the L3 cache
_SHARED_WEIGHT_BYTES = 12 * 1024 * 1024  # from here on the weight is read too often in small blocks
_TASKS = 16  # at least, where the work can be divided so
_STREAM_BYTES = 24 * 1024 * 1024  # an output that the L3 cache would not hold until it is read


class WinogradPlan(NamedTuple):
    """Sizes that the kernels need."""

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
    shared: int  # whether the transformed input is an array of its own
    vectors: int  # of output channels in a register tile
    splits: int  # parts of the output channels
    row_v: int  # elements between tiles of a plane of the input; a vector more than needed spreads them over the cache
    plane_v: int  # between planes
    plane_u: int  # and of the weight
    rows: int  # of a plane, whole register tiles
    stream: int  # whether the output goes past the caches


@functools.lru_cache(maxsize=1024)
def winograd_plan(x_shape, out_shape, pad_top, pad_left):
    """Return the plan for these shapes in float32, with the padding before the first row and column."""
    width = VECTOR_BYTES // 4
    batch, in_h, in_w, in_channels = x_shape
    _, out_h, out_w, out_channels = out_shape
    tiles_h, tiles_w = -(-out_h // TILE), -(-out_w // TILE)
    tiles = batch * tiles_h * tiles_w
    vectors = min(TILE_VECTORS, -(-out_channels // width))
    groups = -(-out_channels // (vectors * width))
    row_v = -(-in_channels // width) * width + width
    fitting = max(1, min(4, _PLANES_BYTES // (PLANES * row_v * 4 * ROWS))) * ROWS
    shared = tiles < _TASKS * ROWS or PLANES * in_channels * out_channels * 4 > _SHARED_WEIGHT_BYTES
    blocks = max(1, -(-tiles // (_SHARED_TILES if shared else fitting)))
    block_tiles = -(-tiles // (blocks * ROWS)) * ROWS if tiles > ROWS else tiles
    blocks = -(-tiles // block_tiles) if tiles else 0
    splits = min(groups, -(-_TASKS // blocks)) if shared and tiles else 1
    rows = -(-block_tiles // ROWS) * ROWS
    stream = batch * out_h * out_w * out_channels * 4 >= _STREAM_BYTES and out_channels % width == 0
    return WinogradPlan(
        *(in_h, in_w, in_channels, out_h, out_w, out_channels, pad_top, pad_left, tiles_h, tiles_w, tiles),
        *(block_tiles, blocks, int(shared), vectors, splits, row_v, plane_elements(rows, row_v)),
        *(_weight_plane(in_channels, vectors), rows, int(stream)),
    )


def winograd_size(in_channels, out_channels):
    """Return the elements of a transformed weight."""
    vectors, groups = _vectors(out_channels)
    return PLANES * groups * _weight_plane(in_channels, vectors)


def _weight_plane(in_channels, vectors):
    return plane_elements(in_channels, vectors * VECTOR_BYTES // 4)


def _vectors(out_channels):
    """Return the vectors of a register tile and the number of such groups of output channels."""
    width = VECTOR_BYTES // 4
    vectors = min(TILE_VECTORS, -(-out_channels // width))
    return vectors, -(-out_channels // (vectors * width))


@device
def transform_inputs(x, zeros, values, first, tiles, plan, dt):
    """Transform the patches of a block of tiles into the planes at `values`."""
    size = itemsize(dt)
    width = lanes(dt)
    plane_bytes = plan.plane_v * size
    pixel_bytes = plan.in_channels * size
    row_bytes = plan.in_w * pixel_bytes
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    for t in range(tiles):
        h, w = i * TILE - plan.pad_top, j * TILE - plan.pad_left
        start = x + ((image * plan.in_h + h) * plan.in_w + w) * pixel_bytes
        rows = patch_rows(start, h, row_bytes, zeros, plan.in_h)
        target = values + t * plan.row_v * size
        for c in range(0, plan.in_channels, width):
            prefetch_patch(start, c * size, row_bytes, pixel_bytes)
            count = min(width, plan.in_channels - c)
            transform_patch(rows, w, plan.in_w, pixel_bytes, c * size, count, target + c * size, plane_bytes, dt)
        j += 1
        if j == plan.tiles_w:
            i, j = i + 1, 0
        if i == plan.tiles_h:
            image, i = image + 1, 0


@device
def clear_zeros(zeros, plan, dt):
    """Clear the buffer that stands for rows outside the image."""
    for c in range(0, PATCH * plan.in_channels, lanes(dt)):
        vstore(zeros + c * itemsize(dt), vsplat(0, dt))


@device
def _identity(value, dt):
    return value


@device
def _relu(value, dt):
    zero = vsplat(0, dt)
    return vselect_not_le(value, zero, value, zero)


@device
def _products_column(place, step, dt):
    return output_row(
        vload(place, dt),
        vload(place + step, dt),
        vload(place + 2 * step, dt),
        vload(place + 3 * step, dt),
        vload(place + 4 * step, dt),
        vload(place + 5 * step, dt),
        dt,
    )


@device
def _store_row(place, pixel_bytes, y, cols, count, stream, dt):
    """Write up to four outputs of a row, `count` channels each."""
    if cols == TILE and count == lanes(dt):
        if stream:
            vstore_stream(place, y[0])
            vstore_stream(place + pixel_bytes, y[1])
            vstore_stream(place + 2 * pixel_bytes, y[2])
            vstore_stream(place + 3 * pixel_bytes, y[3])
        else:
            vstore(place, y[0])
            vstore(place + pixel_bytes, y[1])
            vstore(place + 2 * pixel_bytes, y[2])
            vstore(place + 3 * pixel_bytes, y[3])
        return
    vstore_part(place, y[0], count)
    if cols > 1:
        vstore_part(place + pixel_bytes, y[1], count)
    if cols > 2:
        vstore_part(place + 2 * pixel_bytes, y[2], count)
    if cols > 3:
        vstore_part(place + 3 * pixel_bytes, y[3], count)


def _make_output(activate):
    """Make the transform of one tile's products, with `activate` applied to the result."""

    @device
    def output_line(a, b, e, f, g, h, bias, dt):
        y = output_row(a, b, e, f, g, h, dt)
        return activate(y[0] + bias, dt), activate(y[1] + bias, dt), activate(y[2] + bias, dt), activate(y[3] + bias, dt)

    @device
    def transform_products(place, plane_bytes, target, row_bytes, pixel_bytes, rows, cols, count, bias, stream, dt):
        """Y = A^T M A for one tile and vector of channels; `rows` x `cols` of its outputs lie in the image."""
        step = 6 * plane_bytes
        a = _products_column(place, step, dt)
        b = _products_column(place + plane_bytes, step, dt)
        e = _products_column(place + 2 * plane_bytes, step, dt)
        f = _products_column(place + 3 * plane_bytes, step, dt)
        g = _products_column(place + 4 * plane_bytes, step, dt)
        h = _products_column(place + 5 * plane_bytes, step, dt)
        y = output_line(a[0], b[0], e[0], f[0], g[0], h[0], bias, dt)
        _store_row(target, pixel_bytes, y, cols, count, stream, dt)
        if rows > 1:
            y = output_line(a[1], b[1], e[1], f[1], g[1], h[1], bias, dt)
            _store_row(target + row_bytes, pixel_bytes, y, cols, count, stream, dt)
        if rows > 2:
            y = output_line(a[2], b[2], e[2], f[2], g[2], h[2], bias, dt)
            _store_row(target + 2 * row_bytes, pixel_bytes, y, cols, count, stream, dt)
        if rows > 3:
            y = output_line(a[3], b[3], e[3], f[3], g[3], h[3], bias, dt)
            _store_row(target + 3 * row_bytes, pixel_bytes, y, cols, count, stream, dt)

    @device
    def transform_outputs(products, row_bytes_m, out, bias, first, tiles, channel, plan, dt):
        """Transform one vector of output channels of a block of tiles into `out`."""
        size = itemsize(dt)
        count = min(lanes(dt), plan.out_channels - channel)
        start = vsplat(0, dt)
        if bias != 0:
            start = vload_part(bias + channel * size, count, dt)
        pixel_bytes = plan.out_channels * size
        row_bytes = plan.out_w * pixel_bytes
        plane_bytes = plan.rows * row_bytes_m
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        for t in range(tiles):
            h, w = i * TILE, j * TILE
            rows, cols = min(TILE, plan.out_h - h), min(TILE, plan.out_w - w)
            target = out + ((image * plan.out_h + h) * plan.out_w + w) * pixel_bytes + channel * size
            source = products + t * row_bytes_m
            transform_products(
                source, plane_bytes, target, row_bytes, pixel_bytes, rows, cols, count, start, plan.stream, dt
            )
            j += 1
            if j == plan.tiles_w:
                i, j = i + 1, 0
            if i == plan.tiles_h:
                image, i = image + 1, 0

    return transform_outputs


def _make_multiply(vectors):
    """Make the product of all planes of a block with the weight of one group of `vectors` vectors."""

    @device
    def multiply_planes(values, weights, products, tiles, plan, dt):
        size = itemsize(dt)
        row_v, row_m = plan.row_v * size, vectors * VECTOR_BYTES
        for plane in range(PLANES):
            source = values + plane * plan.plane_v * size
            target = products + plane * plan.rows * row_m
            for t in range(0, tiles, ROWS):
                rows = row_steps(ROWS, source + t * row_v, row_v)
                place = weights
                acc = tile_zero(ROWS, vectors, dt)
                for shift in range(0, plan.in_channels * size, size):
                    acc = tile_multiply_add(acc, rows, shift, place)
                    place += vectors * VECTOR_BYTES
                tile_store(acc, row_steps(ROWS, target + t * row_m, row_m))
            weights += plan.plane_u * size

    return multiply_planes


def _make_groups(vectors, activate):
    """Make the second half of a task: products and output transform, group by group of output channels."""
    multiply_planes = _make_multiply(vectors)
    transform_outputs = _make_output(activate)

    @device
    def convolve_groups(values, products, weights, bias, out, first, tiles, begin, end, plan, dt):
        width = lanes(dt)
        group_bytes = PLANES * plan.plane_u * itemsize(dt)
        for group in range(begin, end):
            multiply_planes(values, weights + group * group_bytes, products, tiles, plan, dt)
            for v in range(vectors):
                channel = (group * vectors + v) * width
                if channel < plan.out_channels:
                    source = products + v * VECTOR_BYTES
                    transform_outputs(source, vectors * VECTOR_BYTES, out, bias, first, tiles, channel, plan, dt)

    return convolve_groups


def _make_kernels(vectors, activate, name):
    """Make the kernel whose tasks transform their own input, and that which finds it transformed."""
    convolve_groups = _make_groups(vectors, activate)

    def fused(begin, end, scratch, x, weights, bias, out, plan):
        dt = x.dtype
        size = itemsize(dt)
        values = address(scratch)
        products = values + PLANES * plan.plane_v * size
        zeros = products + PLANES * plan.rows * vectors * VECTOR_BYTES
        bias_place = address(bias) if bias.size else 0
        groups = (plan.out_channels + vectors * lanes(dt) - 1) // (vectors * lanes(dt))
        clear_zeros(zeros, plan, dt)
        for task in range(begin, end):
            first = task * plan.block_tiles
            tiles = min(plan.block_tiles, plan.tiles - first)
            transform_inputs(address(x), zeros, values, first, tiles, plan, dt)
            convolve_groups(
                values, products, address(weights), bias_place, address(out), first, tiles, 0, groups, plan, dt
            )

    def shared(begin, end, scratch, values, weights, bias, out, plan):
        dt = values.dtype
        bias_place = address(bias) if bias.size else 0
        groups = (plan.out_channels + vectors * lanes(dt) - 1) // (vectors * lanes(dt))
        block_bytes = PLANES * plan.plane_v * itemsize(dt)
        for task in range(begin, end):
            split, block = task // plan.blocks, task % plan.blocks
            first = block * plan.block_tiles
            convolve_groups(
                *(address(values) + block * block_bytes, address(scratch), address(weights), bias_place, address(out)),
                *(first, min(plan.block_tiles, plan.tiles - first)),
                *(split * groups // plan.splits, (split + 1) * groups // plan.splits, plan, dt),
            )

    fused.__name__, shared.__name__ = f"conv2d_winograd{name}", f"conv2d_winograd_shared{name}"
    return kernel(fused), kernel(shared)


_KERNELS = {
    (1, "identity"): _make_kernels(1, _identity, "_narrow"),
    (2, "identity"): _make_kernels(2, _identity, ""),
    (1, "relu"): _make_kernels(1, _relu, "_narrow_relu"),
    (2, "relu"): _make_kernels(2, _relu, "_relu"),
}


@kernel
def winograd_transform_input(begin, end, scratch, x, values, plan):
    """The planes of one block of tiles, up to ROWS tiles a task."""
    dt = x.dtype
    size = itemsize(dt)
    clear_zeros(address(scratch), plan, dt)
    block_bytes = PLANES * plan.plane_v * size
    strips = plan.rows // ROWS
    for task in range(begin, end):
        block, strip = divmod(task, strips)
        first = block * plan.block_tiles + strip * ROWS
        tiles = min(ROWS, plan.block_tiles - strip * ROWS, plan.tiles - first)
        target = address(values) + block * block_bytes + strip * ROWS * plan.row_v * size
        transform_inputs(address(x), address(scratch), target, first, tiles, plan, dt)


@kernel
def transform_weight(begin, end, source, weights, in_channels, out_channels, vectors, groups, packed):
    """U = G g G^T into [group][plane][input channel][vectors of the group].

    `source` is the weight itself, (3, 3, in, out), or what pack.py makes of a turned one.
    """
    dt = source.dtype
    size = itemsize(dt)
    width = lanes(dt)
    there = (out_channels + width - 1) // width
    paired = out_channels // (width * TILE_VECTORS) * TILE_VECTORS  # as pack.py: whole pairs of whole vectors
    plane_bytes = weights.size // (groups * PLANES) * size
    for task in range(begin, end):  # one vector of output channels, all input channels
        group, v = task // vectors, task % vectors
        target = address(weights) + group * PLANES * plane_bytes + v * width * size
        if task >= there:  # the last group's missing partner must not hold anything
            for plane in range(PLANES):
                for c in range(in_channels):
                    vstore(target + plane * plane_bytes + c * vectors * width * size, vsplat(0, dt))
            continue
        first, step, count = address(source) + task * width * size, out_channels * size, out_channels - task * width
        if packed:
            per_block = 1 if task >= paired else TILE_VECTORS
            step, count = per_block * width * size, width
            first = address(source) + ((task - task % per_block) * 9 * in_channels + task % per_block) * width * size
        tap = in_channels * step
        for c in range(in_channels):
            g = first + c * step
            a = _weight_column(g, tap, count, dt)
            b = _weight_column(g + tap, tap, count, dt)
            e = _weight_column(g + 2 * tap, tap, count, dt)
            place = target + c * vectors * width * size
            store_six(place, plane_bytes, weight_row(a[0], b[0], e[0], dt))
            store_six(place + 6 * plane_bytes, plane_bytes, weight_row(a[1], b[1], e[1], dt))
            store_six(place + 12 * plane_bytes, plane_bytes, weight_row(a[2], b[2], e[2], dt))
            store_six(place + 18 * plane_bytes, plane_bytes, weight_row(a[3], b[3], e[3], dt))
            store_six(place + 24 * plane_bytes, plane_bytes, weight_row(a[4], b[4], e[4], dt))
            store_six(place + 30 * plane_bytes, plane_bytes, weight_row(a[5], b[5], e[5], dt))


@device
def _weight_column(place, tap, count, dt):
    """G g for one column of a kernel of `count` channels."""
    if count >= lanes(dt):
        return weight_row(vload(place, dt), vload(place + 3 * tap, dt), vload(place + 6 * tap, dt), dt)
    return weight_row(
        vload_part(place, count, dt),
        vload_part(place + 3 * tap, count, dt),
        vload_part(place + 6 * tap, count, dt),
        dt,
    )


def prepare(source, in_channels, out_channels, workspace, *, packed):
    """Return the transformed weight, from the weight itself or from a turned one packed as a single block."""
    vectors, groups = _vectors(out_channels)
    weights = workspace.empty((winograd_size(in_channels, out_channels),), source.dtype)
    flat = source.reshape(-1)
    launch(transform_weight, vectors * groups, flat, weights, in_channels, out_channels, vectors, groups, packed)
    return weights


def run(x, weights, bias, pad_top, pad_left, out, workspace, activation="identity"):
    """Launch the convolution of `x` with a transformed weight."""
    plan = winograd_plan(x.shape, out.shape, pad_top, pad_left)
    if not plan.tiles:
        return
    if plan.stream and out.ctypes.data % VECTOR_BYTES:
        plan = plan._replace(stream=0)
    fused, shared = _KERNELS[plan.vectors, activation]
    planes = PLANES * plan.plane_v
    products = PLANES * plan.rows * plan.vectors * VECTOR_BYTES // 4
    zeros = PATCH * plan.in_channels + VECTOR_BYTES
    threads = get_num_threads()
    if not plan.shared:
        scratch = workspace.empty((threads, _round(planes + products + zeros)), x.dtype)
        launch(fused, plan.blocks, x, weights, bias, out, plan, scratch=scratch)
        return
    values = workspace.empty((plan.blocks * planes,), x.dtype)
    scratch = workspace.empty((threads, _round(zeros)), x.dtype)
    launch(winograd_transform_input, plan.blocks * (plan.rows // ROWS), x, values, plan, scratch=scratch)
    scratch = workspace.empty((threads, _round(products)), x.dtype)
    launch(shared, plan.blocks * plan.splits, values, weights, bias, out, plan, scratch=scratch)


def _round(elements):
    """Round up to cache lines, so that no two threads share one."""
    return -(-elements // 16) * 16
