"""Gradient of a convolution with respect to its weight, direct; dense layers too.

    grad_weight[t, c, k] = sum over output pixels of x[pixel moved by tap t, c] * grad_output[pixel, k]

x is (batch, in_h, in_w, in_channels), grad (batch, grid_h, grid_w, out_channels), the gradient
(kernel_h, kernel_w, group_in, out_channels), sums [part] of that.

A task owns a block of input channels and a block of output channels, and one part of the pixels. Block of pixels by
block of pixels it copies the input into a strip padded with zeros and the gradient into columns of two vectors; then
tiles of pairs (tap, input channel) by two vectors of output channels run over the pixels, and ask, a line a pixel, for
what the next block of pixels reads. Small weights leave few blocks of channels, so there the pixels are split into
parts, whose sums are added in order afterwards: the number of parts depends on shapes only.

An array is read where it lies instead of copied: the input where no tap leaves it, unless its pixels would share sets
of the L1 cache and more than one tap comes back to them; a gradient of whole vectors in float32 or float64 where so few
tiles read it that a copy costs more than it saves.

Cost: the flops of the forward pass; bound by the fused multiply-add units. Each block of pixels reads and writes the
accumulators once, and what is copied of it is copied once for every block of channels on the other side.
"""

import functools
from typing import NamedTuple

from ..elementwise.maps import fill
from ..runtime.cpu_caches import CACHES
from ..runtime.launch import device, kernel, launch
from ..vector.bf16_storage import vload_part_stored, vload_stored
from ..vector.prefetch import bytes_a_step
from ..vector.simd import LINE_BYTES, address, itemsize, lanes, prefetch_far, store_word, vstore
from ..vector.sums import sum_in_order
from ..vector.tile import (
    ROWS,
    TILE_VECTORS,
    row_addresses,
    tile_load,
    tile_load_part,
    tile_multiply_add,
    tile_store,
    tile_store_part,
    tile_zero,
)
from .plan import padded_width
from .strip import ImageRegion, Images, copy_strip, page_rows

# Pixels of a block, between reading and writing the sums, and pairs (tap, input channel) a task, whose sums stay in the
# L2 cache. The larger blocks outgrow the L1 cache and still gain, 2 to 12 % on Zen 5 (1 MB of L2).
_BLOCK_PIXELS, _BLOCK_ROWS = (512, 1024) if CACHES.level2 >= 1024**2 else (128, 576)
# For more tiles than these a copy of the gradient is worth its price. On Zen 5, copied and where it lies: the 2 tiles
# of 3 to 64 channels by 3x3 1.4 and 1.2 ms, the 37 tiles of 512 to 128 channels by 1x1 2.4 and 2.6.
_IN_PLACE_TILES = 20
_STRIP_BYTES = 4 * 1024**2  # of several images: spread taps make strips much larger than the blocks of pixels
_BLOCK_OUT_BYTES = 512  # output channels a task
_TASKS = 16
_FEW_TASKS, _FEW_PIXELS = 4, 64  # with fewer tasks than these, blocks of fewer pixels, down to these
_PARTS_BYTES = 32 * 1024 * 1024
# As fast as 13, and the 27 pairs of a 3x3 kernel on images of three channels are two such tiles: 0.75 of the time.
_TILE_ROWS = 14 if ROWS == 13 else ROWS


class WeightPlan(NamedTuple):
    """Sizes that `conv2d_backward_weight_direct` needs."""

    batch: int
    in_h: int
    in_w: int
    in_channels: int
    grid_h: int
    grid_w: int
    out_channels: int
    groups: int
    group_in: int
    group_out: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    kernel_h: int
    kernel_w: int
    in_place: int  # the input is read where it lies
    grad_in_place: int  # and so is the gradient, if it is not stored as bfloat16
    cell: int  # elements between cells of a strip
    block_channels: int
    block_out: int
    block_images: int
    block_rows: int
    block_cols: int
    row_bands: int
    col_bands: int
    blocks: int
    channel_blocks: int
    out_blocks: int
    parts: int
    table_words: int
    strip_elements: int


@functools.lru_cache(maxsize=1024)
def weight_plan(x_shape, grad_shape, weight_shape, geometry, itemsize):
    """Return the plan for these shapes."""
    kernel_h, kernel_w, group_in, out_channels = weight_shape
    taps = kernel_h * kernel_w
    stride, dilation, groups = geometry.stride, geometry.dilation, geometry.groups
    (top, bottom), (left, right) = geometry.padding
    batch, in_h, in_w, in_channels = x_shape
    grid_h, grid_w = grad_shape[1:3]
    if taps == 1 and stride == (1, 1) and top == bottom == left == right == 0:  # a matrix product: one row of pixels
        batch, in_h, in_w, grid_h, grid_w = 1, 1, batch * in_h * in_w, 1, batch * grid_h * grid_w
    span_h, span_w = dilation[0] * (kernel_h - 1) + 1, dilation[1] * (kernel_w - 1) + 1
    inside_h = top <= 0 and (grid_h - 1) * stride[0] + span_h - top <= in_h
    inside_w = left <= 0 and (grid_w - 1) * stride[1] + span_w - left <= in_w
    in_place = inside_h and inside_w and (taps == 1 or not _conflicts(in_channels * itemsize))  # no line is read often
    channel_blocks = -(-group_in * taps // _BLOCK_ROWS)
    block_channels = -(-group_in // min(channel_blocks, group_in))
    cell = block_channels + (LINE_BYTES // itemsize if _conflicts(block_channels * itemsize) else 0)
    group_out = out_channels // groups
    tiles = -(-taps * block_channels // _TILE_ROWS)
    grad_in_place = tiles <= _IN_PLACE_TILES and group_out == padded_width(group_out, itemsize)
    pixels = _block_pixels((in_channels + out_channels) * itemsize) if in_place and grad_in_place else _BLOCK_PIXELS
    tasks = groups * channel_blocks * -(-group_out * itemsize // _BLOCK_OUT_BYTES)
    if tasks < _FEW_TASKS:
        pixels = min(pixels, max(batch * grid_h * grid_w * tasks // _FEW_TASKS, _FEW_PIXELS))
    cols = min(grid_w, pixels)
    rows = max(1, min(grid_h, pixels // cols))
    rows = -(-grid_h // -(-grid_h // rows))
    images = max(1, min(batch, pixels // (rows * cols))) if rows == grid_h and cols == grid_w else 1
    row_bands, col_bands = -(-grid_h // rows), -(-grid_w // cols)
    channel_blocks = -(-group_in // block_channels)
    strip = ((rows - 1) * stride[0] + span_h) * ((cols - 1) * stride[1] + span_w)
    images = max(1, min(images, _STRIP_BYTES // (strip * cell * itemsize)))
    strip *= images
    blocks = -(-batch // images) * row_bands * col_bands
    block_out = min(_BLOCK_OUT_BYTES // itemsize, padded_width(group_out, itemsize))
    wide = tiles * _TILE_ROWS * group_out * itemsize <= _BLOCK_ROWS * _BLOCK_OUT_BYTES
    if grad_in_place and wide and groups * channel_blocks * blocks >= _TASKS:
        block_out = group_out  # the input is read once
    out_blocks = -(-group_out // block_out)
    parts = min(-(-_TASKS // (groups * channel_blocks * out_blocks)), blocks)
    parts = max(1, min(parts, _PARTS_BYTES // (taps * group_in * out_channels * itemsize)))
    return WeightPlan(
        *(batch, in_h, in_w, in_channels, grid_h, grid_w, out_channels, groups, group_in, group_out),
        *(*stride, *dilation, top, left, kernel_h, kernel_w, int(in_place), int(grad_in_place), cell),
        *(block_channels, block_out, images, rows, cols, row_bands, col_bands),
        *(blocks, channel_blocks, out_blocks, parts),
        taps * block_channels + _TILE_ROWS,
        0 if in_place else strip * cell,
    )


def _block_pixels(pixel_bytes):
    """Return the pixels of a block where nothing is copied: two of them should lie in the L2 cache, beside the sums."""
    half = _BLOCK_PIXELS // 2
    return half if 2 * half * pixel_bytes < CACHES.level2 <= 2 * _BLOCK_PIXELS * pixel_bytes else _BLOCK_PIXELS


def _conflicts(pixel_bytes):
    """Tell whether pixels so far apart share few sets of the L1 cache: a step of the product reads one from each."""
    return pixel_bytes >= 4 * LINE_BYTES and pixel_bytes % (2 * LINE_BYTES) == 0


@device
def _fill_tables(table_in, table_out, plan, c0, channels, row_pixels, pixel_elements):
    """Write, for each pair (tap, channel), its offset from the first tap and its row of the weight."""
    pair = 0
    for r in range(plan.kernel_h):
        for s in range(plan.kernel_w):
            offset = (r * plan.dilation_h * row_pixels + s * plan.dilation_w) * pixel_elements
            for c in range(channels):
                store_word(table_in + 8 * pair, offset + c)
                store_word(table_out + 8 * pair, (r * plan.kernel_w + s) * plan.group_in + c0 + c)
                pair += 1
    for extra in range(pair, pair + _TILE_ROWS):  # the last tile repeats the last pair
        store_word(table_in + 8 * extra, offset + channels - 1)
        store_word(table_out + 8 * extra, (plan.kernel_h * plan.kernel_w - 1) * plan.group_in + c0 + channels - 1)
    return pair


@device
def _prefetches(x, grad, block, plan, x_size, grad_size):
    """Where the input and the gradient begin that the block after `block` adds, and their bytes.

    Nothing of an array of which this task reads a part of each pixel.
    """
    col0 = (block + 1) % plan.col_bands * plan.block_cols
    row0 = (block + 1) // plan.col_bands % plan.row_bands * plan.block_rows
    image0 = (block + 1) // (plan.col_bands * plan.row_bands) * plan.block_images
    if plan.col_bands > 1:
        cells, pixels = plan.block_cols * plan.stride_w, plan.block_cols
    elif plan.row_bands > 1:
        cells, pixels = plan.block_rows * plan.stride_h * plan.in_w, plan.block_rows * plan.grid_w
    else:
        cells, pixels = plan.block_images * plan.in_h * plan.in_w, plan.block_images * plan.grid_h * plan.grid_w
    cell = (image0 * plan.in_h + row0 * plan.stride_h) * plan.in_w + col0 * plan.stride_w
    pixel = (image0 * plan.grid_h + row0) * plan.grid_w + col0
    cell_bytes, pixel_bytes = plan.in_channels * x_size, plan.out_channels * grad_size
    x_bytes = cells * cell_bytes if plan.groups * plan.channel_blocks == 1 else 0
    grad_bytes = pixels * pixel_bytes if plan.groups * plan.out_blocks == 1 else 0
    return x + cell * cell_bytes, x_bytes, grad + pixel * pixel_bytes, grad_bytes


@device
def _next_share(ahead, nbytes):
    """Return where to ask for the next `nbytes`, and what is left then: first of the input, then of the gradient."""
    x, x_bytes, grad, grad_bytes = ahead
    if x_bytes > 0:
        return x, (x + nbytes, x_bytes - nbytes, grad, grad_bytes)
    return grad, (x, x_bytes, grad + nbytes, grad_bytes - nbytes)


@device
def _copy_columns(columns, grad, plan, place, cells, channel, channels, dt):
    """Copy the block's gradient into columns: pairs of vectors, then single ones, each for all pixels in turn."""
    image0, row0, col0 = place
    images, rows, cols = cells
    width = lanes(dt)
    stored = grad.dtype
    size, stored_size = itemsize(dt), itemsize(stored)
    pair = TILE_VECTORS * width
    paired = channels // pair * pair
    pixels = images * rows * cols
    pixel = 0
    for n in range(images):
        for i in range(rows):
            source = ((image0 + n) * plan.grid_h + row0 + i) * plan.grid_w + col0
            source = address(grad) + (source * plan.out_channels + channel) * stored_size
            for _ in range(cols):
                for k in range(0, paired, width):
                    target = columns + (k // pair * pair * pixels + pixel * pair + k % pair) * size
                    vstore(target, vload_stored(source + k * stored_size, stored, dt))
                for k in range(paired, channels, width):
                    target = columns + (k * pixels + pixel * width) * size
                    count = min(width, channels - k)
                    vstore(target, vload_part_stored(source + k * stored_size, count, stored, dt))
                source += plan.out_channels * stored_size
                pixel += 1


class PixelBlock(NamedTuple):
    """A block of pixels: how it is read, and how many pairs (tap, input channel) there are."""

    cells: tuple  # images, rows, columns
    strides: tuple  # bytes from image to image, row to row, pixel to pixel of the input
    source: int  # address of the first pixel
    pairs: int
    table_in: int  # addresses of the tables of pairs: where they are read, and their rows of the weight
    table_out: int
    gradient: int  # address of its part of the gradient
    gradient_bytes: int  # from pixel to pixel, 0 if it was copied into columns


@device
def _multiply(acc, rows, column, column_step, block, place, step):
    """Add a block of pixels to a tile, asking for `step` bytes from `place` on a pixel."""
    images, block_rows, cols = block.cells
    image_bytes, row_bytes, pixel_bytes = block.strides
    for n in range(images):
        for i in range(block_rows):
            start = n * image_bytes + i * row_bytes
            for shift in range(start, start + cols * pixel_bytes, pixel_bytes):
                acc = tile_multiply_add(acc, rows, shift, column)
                prefetch_far(place)
                place += step
                column += column_step
    return acc


@device
def _multiply_columns(block, outs, target, first, ahead, plan, dt):
    """All tiles of a block of pixels for `outs` output channels, whose sums begin at `target`.

    `first` starts from zero; `ahead` is what the next block reads.
    """
    size = itemsize(dt)
    width = lanes(dt)
    pair = TILE_VECTORS * width
    paired = outs // pair * pair
    weight_row = plan.out_channels * size
    gradient, pixel_bytes = block.gradient, block.gradient_bytes
    pixels = block.cells[0] * block.cells[1] * block.cells[2]
    between = size if pixel_bytes else pixels * size
    tiles = (block.pairs + _TILE_ROWS - 1) // _TILE_ROWS
    passes = tiles * (paired // pair + (outs - paired + width - 1) // width)
    step = bytes_a_step(ahead[1] + ahead[3], passes * pixels)
    for k in range(0, paired, pair):
        column, column_step = gradient + k * between, pixel_bytes if pixel_bytes else pair * size
        for tile in range(0, block.pairs, _TILE_ROWS):
            sources = row_addresses(_TILE_ROWS, block.table_in + 8 * tile, size, block.source)
            targets = row_addresses(_TILE_ROWS, block.table_out + 8 * tile, weight_row, target + k * size)
            place, ahead = _next_share(ahead, step * pixels)
            acc = tile_zero(_TILE_ROWS, TILE_VECTORS, dt)
            if not first:
                acc = tile_load(acc, targets)
            tile_store(_multiply(acc, sources, column, column_step, block, place, step), targets)
    for k in range(paired, outs, width):
        column, column_step = gradient + k * between, pixel_bytes if pixel_bytes else width * size
        count = min(width, outs - k)
        for tile in range(0, block.pairs, _TILE_ROWS):
            sources = row_addresses(_TILE_ROWS, block.table_in + 8 * tile, size, block.source)
            targets = row_addresses(_TILE_ROWS, block.table_out + 8 * tile, weight_row, target + k * size)
            place, ahead = _next_share(ahead, step * pixels)
            acc = tile_zero(_TILE_ROWS, 1, dt)
            if not first:
                acc = tile_load_part(acc, targets, count)
            tile_store_part(_multiply(acc, sources, column, column_step, block, place, step), targets, count)


@device
def _place_of_block(block, plan):
    """Return the first image, row and column of a block of pixels, and how many of each it has."""
    col0 = block % plan.col_bands * plan.block_cols
    row0 = block // plan.col_bands % plan.row_bands * plan.block_rows
    image0 = block // (plan.col_bands * plan.row_bands) * plan.block_images
    images, rows = min(plan.block_images, plan.batch - image0), min(plan.block_rows, plan.grid_h - row0)
    return (image0, row0, col0), (images, rows, min(plan.block_cols, plan.grid_w - col0))


@device
def _fill_strip(strip, inputs, place, cells, part, plan, dt):
    """Copy some channels of the input of a block into a strip, unless they are read where they lie.

    Return the address of the first pixel, and elements of a pixel, pixels of a row and of an image.
    """
    (image0, row0, col0), (images, rows, cols) = place, cells
    h0, w0 = row0 * plan.stride_h - plan.pad_top, col0 * plan.stride_w - plan.pad_left
    if plan.in_place:
        source = ((image0 * plan.in_h + h0) * plan.in_w + w0) * plan.in_channels + part[0]
        return inputs.address + source * itemsize(dt), plan.in_channels, plan.in_w, plan.in_h * plan.in_w
    strip_h = (rows - 1) * plan.stride_h + (plan.kernel_h - 1) * plan.dilation_h + 1
    strip_w = (cols - 1) * plan.stride_w + (plan.kernel_w - 1) * plan.dilation_w + 1
    region = ImageRegion(h0, w0, strip_h, strip_w)
    for n in range(images):
        target = strip + n * strip_h * strip_w * plan.cell * itemsize(dt)
        copy_strip(target, plan.cell, inputs, image0 + n, region, part, dt)
    return strip, plan.cell, strip_w, strip_h * strip_w


@kernel
def conv2d_backward_weight_direct(begin, end, scratch, grad, x, sums, plan):
    """One block of the weight and one part of the pixels a task."""
    dt = sums.dtype
    size = itemsize(dt)
    table_in = address(scratch)
    table_out = table_in + 8 * plan.table_words
    strip = table_out + 8 * plan.table_words
    columns = strip + plan.strip_elements * size
    inputs = Images(address(x), plan.in_h, plan.in_w, plan.in_channels)
    weight_elements = plan.kernel_h * plan.kernel_w * plan.group_in * plan.out_channels
    for task in range(begin, end):
        part = task % plan.parts
        rest = task // plan.parts
        k0 = rest % plan.out_blocks * plan.block_out
        rest //= plan.out_blocks
        c0 = rest % plan.channel_blocks * plan.block_channels
        group = rest // plan.channel_blocks
        channels = min(plan.block_channels, plan.group_in - c0)
        outs = min(plan.block_out, plan.group_out - k0)
        channel_in, channel_out = group * plan.group_in + c0, group * plan.group_out + k0
        target = address(sums) + (part * weight_elements + channel_out) * size
        first_block = part * plan.blocks // plan.parts
        for block in range(first_block, (part + 1) * plan.blocks // plan.parts):
            place, cells = _place_of_block(block, plan)
            source, pixel, row, image = _fill_strip(strip, inputs, place, cells, (channel_in, channels), plan, dt)
            pairs = _fill_tables(table_in, table_out, plan, c0, channels, row, pixel)
            gradient = columns, 0
            if plan.grad_in_place and itemsize(grad.dtype) == size:  # whose pixels of a block follow each other
                pixel_bytes = plan.out_channels * size
                first_pixel = ((place[0] * plan.grid_h + place[1]) * plan.grid_w + place[2]) * pixel_bytes
                gradient = address(grad) + first_pixel + channel_out * size, pixel_bytes
            else:
                _copy_columns(columns, grad, plan, place, cells, channel_out, outs, dt)
            strides = image * pixel * size, plan.stride_h * row * pixel * size, plan.stride_w * pixel * size
            pixels = PixelBlock(cells, strides, source, pairs, table_in, table_out, gradient[0], gradient[1])
            ahead = _prefetches(address(x), address(grad), block, plan, size, itemsize(grad.dtype))
            _multiply_columns(pixels, outs, target, block == first_block, ahead, plan, dt)


def backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    """Launch the kernel and, where the pixels are split, the ordered sum."""
    if grad_output.size == 0:
        fill(0, out=out)
        return
    plan = weight_plan(x.shape, grad_output.shape, out.shape, geometry, x.itemsize)
    pixels = plan.block_images * plan.block_rows * plan.block_cols
    columns = 0 if plan.grad_in_place and grad_output.dtype == out.dtype else pixels * plan.block_out
    scratch_bytes = 16 * plan.table_words + (plan.strip_elements + columns) * x.itemsize
    scratch = page_rows(scratch_bytes, workspace)
    sums = out.reshape(1, -1) if plan.parts == 1 else workspace.empty((plan.parts, out.size), out.dtype)
    tasks = plan.groups * plan.channel_blocks * plan.out_blocks * plan.parts
    launch(conv2d_backward_weight_direct, tasks, grad_output, x, sums, plan, scratch=scratch)
    if plan.parts > 1:
        sum_in_order(sums, out)
