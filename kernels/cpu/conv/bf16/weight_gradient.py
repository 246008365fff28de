"""Gradient of a convolution with respect to its weight in bfloat16, for "fast" precision; dense layers too.

    grad_weight[t, c, k] = sum over output pixels f of x[c, cell of f moved by tap t] * grad_output[f, k]

A task owns a block of input channels, a block of output channels and a part of the pixels. Block of pixels by block of
pixels it rounds the input into a transposed strip (plan.py; a channel's cells follow each other) and the gradient
into pairs of pixels, with zeros between the rows of the grid. A tap is then a shift along the strip: 16 channels at one
shift are the rows of one tile register. With fewer than 16 channels every pair (tap, channel) is copied to a row of its
own. Sums stay in the L2 cache in float32; where the pixels are split into parts, their sums are added in order.

Cost: the flops of the forward pass; with tile registers bound by the caches. Error: see convolve.py.
"""

from typing import NamedTuple

from ...elementwise.maps import fill
from ...runtime.launch import device, kernel, launch
from ...vector import amx
from ...vector.bf16 import BLOCK_BYTES, PAIR_BYTES, square_store_bf16, store_bf16_pairs, tile_dot
from ...vector.bf16_storage import STORED, bytes_of, load_either
from ...vector.memory import copy_elements, store
from ...vector.prefetch import ask_for_lines, share_of_lines
from ...vector.simd import VECTOR_BYTES, address, load_word, store_word, vload, vsplat, vstore
from ...vector.sums import sum_in_order
from ...vector.tile import row_steps, square_load_rows, square_transpose, tile_add, tile_load, tile_store, tile_zero
from ..strip import next_rows, page_rows
from .plan import STEP_ELEMENTS, bf16_squares
from .strip import fill_table

_DOT_ROWS = 8


class Outputs(NamedTuple):
    """The output channels of a task: vectors, how many of them in pairs, the first one, the one after the last."""

    vectors: int
    paired: int
    channel: int
    last: int


@device
def _fill_cells(cells, image0, images, row0, plan):
    """Write, for each cell of a strip, the pixel of the input, -1 for none."""
    place = cells
    for phase_h in range(plan.stride_h):
        for phase_w in range(plan.stride_w):
            first_w = plan.first_dw + phase_w
            for n in range(plan.block_images):
                for i in range(plan.image_rows):
                    h = (row0 + i) * plan.stride_h + plan.first_dh + phase_h
                    row = ((image0 + n) * plan.in_h + h) * plan.in_w
                    inside = n < images and 0 <= h < plan.in_h
                    for w in range(first_w, first_w + plan.pitch * plan.stride_w, plan.stride_w):
                        store_word(place, row + w if inside and 0 <= w < plan.in_w else -1)
                        place += 8
    for rest in range(place, cells + 8 * plan.line, 8):
        store_word(rest, -1)


@device
def _load_cells(cells, source, count, is_bf16, plan, dt):
    """Return a square tile with a cell's channels in each row."""
    if is_bf16:
        return square_load_rows(cells, 2 * plan.in_channels, source, count, STORED, dt)
    return square_load_rows(cells, 4 * plan.in_channels, source, count, dt, dt)


@device
def _transpose_strip(strip, cells, x, is_bf16, channel, channels, plan, dt):
    """Fill the transposed strip of a block of output pixels, 32 cells by 16 channels at a time."""
    size = 2 if is_bf16 else 4
    for cell in range(0, plan.line, STEP_ELEMENTS):
        for c in range(0, channels, 16):
            count = min(16, channels - c)
            source = x + size * (channel + c)
            low = _load_cells(cells + 8 * cell, source, count, is_bf16, plan, dt)
            high = _load_cells(cells + 8 * (cell + 16), source, count, is_bf16, plan, dt)
            target = strip + 2 * (c * plan.line + cell)
            square_store_bf16(square_transpose(low), square_transpose(high), target, 2 * plan.line)


@device
def _expand(strip, places, plan, dt):
    """Copy each pair (tap, channel) to a row of its own, shifted by the tap."""
    line = 2 * plan.line
    target = strip + (plan.block_channels + 15) // 16 * 16 * line
    count = plan.chunks * STEP_ELEMENTS // 2  # in words of 4 bytes
    for tap in range(places.shape[0]):
        for c in range(plan.group_in):
            copy_elements(target, strip + c * line + 2 * places[tap], count, dt)
            target += line


@device
def _pack_pairs(pairs, grad, is_bf16, table, used, outs, plan, dt):
    """Write the gradient as pairs of pixels: for each block of output channels, chunk by chunk."""
    vectors, paired, channel, last = outs
    chunks = (used + STEP_ELEMENTS - 1) // STEP_ELEMENTS
    size, zero = 2 if is_bf16 else 4, vsplat(0, dt)
    for chunk in range(chunks):
        for v in range(vectors):
            per_block = 2 if v < paired else 1
            block = v // 2 * 2 if v < paired else v
            target = pairs + (block * chunks + chunk * per_block + v - block) * BLOCK_BYTES
            k = channel + 16 * v
            count = min(16, last - k)
            for pair in range(16):
                place = table + (chunk * STEP_ELEMENTS + 2 * pair) * 8
                first, second = load_word(place), load_word(place + 8)
                low, high = zero, zero
                if first >= 0:
                    low = load_either(grad + (first * plan.out_channels + k) * size, count, is_bf16, dt)
                if second >= 0:
                    high = load_either(grad + (second * plan.out_channels + k) * size, count, is_bf16, dt)
                store_bf16_pairs(target + pair * 64, low, high)
    return chunks


def _make_dot(vectors):
    """Make the product of two squares of rows with one block of output channels, by ``vdpbf16ps``."""
    row_bytes = vectors * VECTOR_BYTES

    @device
    def multiply_rows(sums, source, line, pairs, chunks, dt):
        rows = row_steps(_DOT_ROWS, source, line)
        targets = row_steps(_DOT_ROWS, sums, row_bytes)
        acc = tile_zero(_DOT_ROWS, vectors, dt)
        place = pairs
        for chunk in range(chunks):
            for pair in range(16):
                shift = chunk * 2 * STEP_ELEMENTS + pair * PAIR_BYTES
                acc = tile_dot(acc, rows, shift, place + pair * VECTOR_BYTES)
            place += vectors * BLOCK_BYTES
        tile_store(tile_add(acc, tile_load(acc, targets)), targets)

    @device
    def multiply(sums, first, second, line, pairs, chunks, fresh, dt):
        if fresh:
            for i in range(0, 2 * vectors * BLOCK_BYTES, VECTOR_BYTES):
                vstore(sums + i, vsplat(0, dt))
        multiply_rows(sums, first, line, pairs, chunks, dt)
        multiply_rows(sums + _DOT_ROWS * row_bytes, first + _DOT_ROWS * line, line, pairs, chunks, dt)
        multiply_rows(sums + 16 * row_bytes, second, line, pairs, chunks, dt)
        multiply_rows(sums + (16 + _DOT_ROWS) * row_bytes, second + _DOT_ROWS * line, line, pairs, chunks, dt)

    return multiply


@device
def _multiply_tiles_pair(sums, first, second, line, pairs, chunks, fresh, dt):
    row = 2 * amx.TILE_ROW_BYTES
    if fresh:
        amx.amx_zero(0)
        amx.amx_zero(1)
        amx.amx_zero(2)
        amx.amx_zero(3)
    else:
        amx.amx_load(0, sums, row)
        amx.amx_load(1, sums + 64, row)
        amx.amx_load(2, sums + 16 * row, row)
        amx.amx_load(3, sums + 16 * row + 64, row)
    for _ in range(chunks):
        amx.amx_load(4, first, line)
        amx.amx_load(6, pairs, amx.TILE_ROW_BYTES)
        amx.amx_load(7, pairs + BLOCK_BYTES, amx.TILE_ROW_BYTES)
        amx.amx_multiply_add(0, 4, 6)
        amx.amx_multiply_add(1, 4, 7)
        amx.amx_load(5, second, line)
        amx.amx_multiply_add(2, 5, 6)
        amx.amx_multiply_add(3, 5, 7)
        first += 2 * STEP_ELEMENTS
        second += 2 * STEP_ELEMENTS
        pairs += 2 * BLOCK_BYTES
    amx.amx_store(0, sums, row)
    amx.amx_store(1, sums + 64, row)
    amx.amx_store(2, sums + 16 * row, row)
    amx.amx_store(3, sums + 16 * row + 64, row)


@device
def _multiply_tiles_single(sums, first, second, line, pairs, chunks, fresh, dt):
    row = amx.TILE_ROW_BYTES
    if fresh:
        amx.amx_zero(0)
        amx.amx_zero(1)
    else:
        amx.amx_load(0, sums, row)
        amx.amx_load(1, sums + 16 * row, row)
    for _ in range(chunks):
        amx.amx_load(6, pairs, amx.TILE_ROW_BYTES)
        amx.amx_load(4, first, line)
        amx.amx_load(5, second, line)
        amx.amx_multiply_add(0, 4, 6)
        amx.amx_multiply_add(1, 5, 6)
        first += 2 * STEP_ELEMENTS
        second += 2 * STEP_ELEMENTS
        pairs += BLOCK_BYTES
    amx.amx_store(0, sums, row)
    amx.amx_store(1, sums + 16 * row, row)


@device
def _store_sums(target, sums, squares, outs, ins, plan, dt):
    """Write the sums of a task into its part of the weight's gradient; `ins` is the first input channel, how many."""
    (vectors, paired, channel, last), (c0, channels) = outs, ins
    whole = plan.taps * plan.group_in if plan.expanded else channels
    for s in range(squares.shape[0]):
        tap, c = squares[s, 1], squares[s, 2]
        for v in range(vectors):
            per_block = 2 if v < paired else 1
            block = v // 2 * 2 if v < paired else v
            source = sums + (block * squares.shape[0] + s * per_block) * BLOCK_BYTES + (v - block) * VECTOR_BYTES
            k = channel + 16 * v
            for r in range(min(16, whole - c)):
                row = tap * plan.group_in + c0 + c + r
                value = vload(source + r * per_block * VECTOR_BYTES, dt)
                store(target + (row * plan.out_channels + k) * 4, value, min(16, last - k), dt)


@device
def _prefetches(x, x_size, grad, grad_size, block, plan):
    """Where input and gradient begin that the next block adds, and their bytes; nothing where channels are parted."""
    place, nbytes = next_rows(x, plan, block, x_size)
    image, band = (block + 1) // plan.bands * plan.block_images, (block + 1) % plan.bands
    row_bytes = plan.out_w * plan.out_channels * grad_size
    grad_place = grad + (image * plan.out_h + band * plan.block_rows) * row_bytes
    rows = plan.block_images * plan.out_h if plan.bands == 1 else plan.block_rows
    whole = plan.groups == 1 and plan.out_blocks == 1
    return place, nbytes if plan.channel_blocks == 1 else 0, grad_place, rows * row_bytes if whole else 0


def _make_multiply_all(multiply_pair, multiply_single):
    """Make the product of all squares of a strip with all blocks of output channels."""

    @device
    def multiply_all(places, squares, outs, chunks, fresh, ahead, plan, dt):
        """`places` are addresses of the sums, of the strip and of the pairs."""
        (sums, strip, pairs), (vectors, paired, _, _) = places, outs
        line = 2 * plan.line
        count = squares.shape[0]
        times = (paired // 2 + vectors - paired) * (count // 2)
        x_ahead, x_bytes, grad_ahead, grad_bytes = ahead
        x_lines, grad_lines = share_of_lines(x_bytes, times), share_of_lines(grad_bytes, times)
        for v in range(0, paired, 2):
            place = pairs + v * chunks * BLOCK_BYTES
            for s in range(0, count, 2):
                x_ahead, grad_ahead = ask_for_lines(x_ahead, x_lines), ask_for_lines(grad_ahead, grad_lines)
                first, second = strip + 2 * squares[s, 0], strip + 2 * squares[s + 1, 0]
                total = sums + (v * count + s * 2) * BLOCK_BYTES
                multiply_pair(total, first, second, line, place, chunks, fresh, dt)
        for v in range(paired, vectors):
            place = pairs + v * chunks * BLOCK_BYTES
            for s in range(0, count, 2):
                x_ahead, grad_ahead = ask_for_lines(x_ahead, x_lines), ask_for_lines(grad_ahead, grad_lines)
                first, second = strip + 2 * squares[s, 0], strip + 2 * squares[s + 1, 0]
                multiply_single(sums + (v * count + s) * BLOCK_BYTES, first, second, line, place, chunks, fresh, dt)

    return multiply_all


def _make_kernel(multiply_pair, multiply_single, tiles, name):
    multiply_all = _make_multiply_all(multiply_pair, multiply_single)

    def conv2d_backward_weight_bf16(
        begin, end, scratch, grad, grad_bf16, x, x_bf16, sums, squares, places, configuration, plan
    ):
        dt = sums.dtype
        inputs = address(x), 2 if x_bf16 else 4, address(grad), 2 if grad_bf16 else 4
        strip = address(scratch)
        pairs = strip + 2 * plan.lines * plan.line
        table = pairs + plan.chunks * plan.block_vectors * BLOCK_BYTES
        cells = table + plan.chunks * STEP_ELEMENTS * 8
        total = cells + plan.line * 8
        weight_elements = plan.taps * plan.group_in * plan.out_channels
        if tiles:
            amx.amx_configure(address(configuration))
        for task in range(begin, end):
            part = task % plan.parts
            rest = task // plan.parts
            v0 = rest % plan.out_blocks * plan.block_vectors
            rest //= plan.out_blocks
            c0 = rest % plan.channel_blocks * plan.block_channels
            group = rest // plan.channel_blocks
            channels = min(plan.block_channels, plan.group_in - c0)
            vectors = min(plan.block_vectors, (plan.group_out + 15) // 16 - v0)
            last = (group + 1) * plan.group_out
            channel = group * plan.group_out + 16 * v0
            paired = min(vectors, max(plan.group_out // 16 - v0, 0)) // 2 * 2
            outs = Outputs(vectors, paired, channel, last)
            first_block = part * plan.blocks // plan.parts
            for block in range(first_block, (part + 1) * plan.blocks // plan.parts):
                image0 = block // plan.bands * plan.block_images
                images = min(plan.block_images, plan.batch - image0)
                row0 = block % plan.bands * plan.block_rows
                rows = min(plan.block_rows, plan.grid_h - row0)
                first = group * plan.group_in + c0
                if block == first_block:  # nobody asked for it
                    place, nbytes, grad_place, grad_bytes = _prefetches(*inputs, block - 1, plan)
                    ask_for_lines(place, share_of_lines(nbytes, 1))
                    ask_for_lines(grad_place, share_of_lines(grad_bytes, 1))
                _fill_cells(cells, image0, images, row0, plan)
                _transpose_strip(strip, cells, address(x), x_bf16, first, channels, plan, dt)
                if plan.expanded:
                    _expand(strip, places, plan, dt)
                used = fill_table(table, image0, images, row0, rows, plan)
                chunks = _pack_pairs(pairs, address(grad), grad_bf16, table, used, outs, plan, dt)
                fresh = block == first_block
                ahead = _prefetches(*inputs, block, plan)
                multiply_all((total, strip, pairs), squares, outs, chunks, fresh, ahead, plan, dt)
            target = address(sums) + part * weight_elements * 4
            _store_sums(target, total, squares, outs, (c0, channels), plan, dt)
        if tiles:
            amx.amx_release()

    conv2d_backward_weight_bf16.__name__ = name
    return kernel(conv2d_backward_weight_bf16)


conv2d_backward_weight_bf16_dot = _make_kernel(_make_dot(2), _make_dot(1), False, "conv2d_backward_weight_bf16_dot")
conv2d_backward_weight_bf16_tiles = _make_kernel(
    _multiply_tiles_pair, _multiply_tiles_single, True, "conv2d_backward_weight_bf16_tiles"
)


def backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    """Launch the kernel and, where the pixels are split, the ordered sum."""
    if grad_output.size == 0 or x.size == 0:
        fill(0, out=out)
        return
    plan, squares, places = bf16_squares(x.shape, grad_output.shape, out.shape, geometry)
    sums_bytes = len(squares) * plan.block_vectors * BLOCK_BYTES
    pairs_bytes = plan.chunks * (plan.block_vectors * BLOCK_BYTES + STEP_ELEMENTS * 8)
    row = (2 * plan.lines + 8) * plan.line + pairs_bytes + sums_bytes
    scratch = page_rows(row, workspace)
    sums = out.reshape(1, -1) if plan.parts == 1 else workspace.empty((plan.parts, out.size), out.dtype)
    tasks = plan.groups * plan.channel_blocks * plan.out_blocks * plan.parts
    chosen = conv2d_backward_weight_bf16_tiles if amx.usable() else conv2d_backward_weight_bf16_dot
    halves = (bytes_of(grad_output), grad_output.dtype == STORED, bytes_of(x), x.dtype == STORED)
    arguments = (*halves, sums, squares, places, amx.CONFIGURATION, plan)
    launch(chosen, tasks, *arguments, scratch=scratch)
    if plan.parts > 1:
        sum_in_order(sums, out)
