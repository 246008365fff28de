"""Convolution in bfloat16: forward, backward-input and dense layers of "fast" precision.

Arrays are float32, or stored as bfloat16 (bf16_storage.py). A task rounds the input of a block of output pixels into a
strip (plan.py), then for each pair of vectors of output channels runs over the block in tiles of 32 pixels: all taps
and channels of a tile are added in float32 before anything is written, so there is one rounding of each operand and
none of a partial sum. On a CPU with tile registers (amx.py) a step is four of them, 32 pixels by 32 channels by 32
elements; elsewhere it is ``vdpbf16ps`` on 8 pixels by two vectors. After a tile come bias, addend, activation and the
sums for mean and variance.

x is (batch, in_h, in_w, in_channels), out (batch, out_h, out_w, out_channels), a strip [phase][image][row][column]
[channel], the weight [group][block of vectors][chunk][pair of elements][output channel].

Cost: 2 * N * P * Q * K * (C / groups) * R * S flops and each array moved once; with tile registers bound by the caches
and by memory. Error: each operand is rounded to 8 bits, see kernels/NUMERICS.md. A row's last step may multiply
neighbouring cells by zero weights, so a value that is not finite can spread to its neighbours.
"""

from typing import NamedTuple

from ...elementwise.following import activated, following, in_lanes, is_aligned, keep_either
from ...runtime.launch import device, kernel, launch
from ...vector import amx
from ...vector.bf16 import BLOCK_BYTES, PAIR_BYTES, tile_dot
from ...vector.bf16_storage import STORED, bytes_of, put_either
from ...vector.memory import load, or_nothing, store
from ...vector.prefetch import ask_for_lines, share_of_lines
from ...vector.simd import (
    STREAM_BYTES,
    VECTOR_BYTES,
    address,
    load_word,
    vfma,
    vload,
    vload_part,
    vsplat,
    vstore,
)
from ...vector.tile import TILE_VECTORS, row_steps, tile_store, tile_zero
from ..plan import prepared_gathers
from ..statistics import combine_parts, part_arrays
from ..strip import next_rows, page_rows
from .plan import STEP_ELEMENTS, TILE_PIXELS, bf16_runs, packed_bytes
from .strip import fill_table, round_strip

_DOT_ROWS = 8  # 16 sums hide the latency of the dot product
_ACCUMULATOR_BYTES = TILE_VECTORS * VECTOR_BYTES


def _make_dot(vectors):
    """Make the product of a tile of pixels with one block of output channels, by ``vdpbf16ps``."""

    @device
    def multiply_rows(sums, source, cell, weights, runs, group_in, dt):
        rows = row_steps(_DOT_ROWS, source, cell)
        acc = tile_zero(_DOT_ROWS, vectors, dt)
        place = weights
        for r in range(runs.shape[0]):
            start = runs[r, 0] * cell
            pairs = (runs[r, 1] * group_in + 1) // 2
            for chunk in range(runs[r, 2]):
                for pair in range(min(16, pairs - 16 * chunk)):
                    acc = tile_dot(acc, rows, start + pair * PAIR_BYTES, place + pair * VECTOR_BYTES)
                start += 2 * STEP_ELEMENTS
                place += vectors * BLOCK_BYTES
        tile_store(acc, row_steps(_DOT_ROWS, sums, _ACCUMULATOR_BYTES))

    @device
    def multiply(sums, source, cell, weights, runs, group_in, dt):
        # Four calls: from a loop over such calls LLVM 22 made a kernel of backward-weight that lost the first row.
        row = _ACCUMULATOR_BYTES
        multiply_rows(sums, source, cell, weights, runs, group_in, dt)
        multiply_rows(sums + 8 * row, source + 8 * cell, cell, weights, runs, group_in, dt)
        multiply_rows(sums + 16 * row, source + 16 * cell, cell, weights, runs, group_in, dt)
        multiply_rows(sums + 24 * row, source + 24 * cell, cell, weights, runs, group_in, dt)

    return multiply


@device
def _multiply_tiles_pair(sums, source, cell, weights, runs, group_in, dt):
    amx.amx_zero(0)
    amx.amx_zero(1)
    amx.amx_zero(2)
    amx.amx_zero(3)
    for r in range(runs.shape[0]):
        start = source + runs[r, 0] * cell
        for _ in range(runs[r, 2]):
            amx.amx_load(4, start, cell)
            amx.amx_load(6, weights, amx.TILE_ROW_BYTES)
            amx.amx_load(7, weights + BLOCK_BYTES, amx.TILE_ROW_BYTES)
            amx.amx_multiply_add(0, 4, 6)
            amx.amx_multiply_add(1, 4, 7)
            amx.amx_load(5, start + 16 * cell, cell)
            amx.amx_multiply_add(2, 5, 6)
            amx.amx_multiply_add(3, 5, 7)
            start += 2 * STEP_ELEMENTS
            weights += 2 * BLOCK_BYTES
    amx.amx_store(0, sums, _ACCUMULATOR_BYTES)
    amx.amx_store(1, sums + 64, _ACCUMULATOR_BYTES)
    amx.amx_store(2, sums + 16 * _ACCUMULATOR_BYTES, _ACCUMULATOR_BYTES)
    amx.amx_store(3, sums + 16 * _ACCUMULATOR_BYTES + 64, _ACCUMULATOR_BYTES)


@device
def _multiply_tiles_single(sums, source, cell, weights, runs, group_in, dt):
    amx.amx_zero(0)
    amx.amx_zero(1)
    for r in range(runs.shape[0]):
        start = source + runs[r, 0] * cell
        for _ in range(runs[r, 2]):
            amx.amx_load(6, weights, amx.TILE_ROW_BYTES)
            amx.amx_load(4, start, cell)
            amx.amx_load(5, start + 16 * cell, cell)
            amx.amx_multiply_add(0, 4, 6)
            amx.amx_multiply_add(1, 5, 6)
            start += 2 * STEP_ELEMENTS
            weights += BLOCK_BYTES
    amx.amx_store(0, sums, _ACCUMULATOR_BYTES)
    amx.amx_store(1, sums + 16 * _ACCUMULATOR_BYTES, _ACCUMULATOR_BYTES)


class Bf16Results(NamedTuple):
    """Where outputs go and what they get on the way; an address is 0 where there is nothing."""

    out: int
    is_bf16: bool
    stream: int  # whether they go past the caches
    bias: int
    addend: int
    follows: float  # or an activation, see following.py


class StripBlock(NamedTuple):
    """A block of output pixels: addresses, and how many cells of the strip it takes."""

    strip: int
    table: int
    sums: int
    partial: int  # the sums for the statistics, [3][output channel], 0 if they are not asked for
    used: int


@device
def _finish_vector(sums, table, results, channels, statistics, first, plan, dt):
    """Write one vector of output channels of a tile of pixels; `channels` is (the first one, how many)."""
    out, is_bf16, stream, bias, addend, follows = results
    channel, count = channels
    size = 2 if is_bf16 else 4
    follows = in_lanes(follows, dt)
    start = vload_part(bias + 4 * channel, count, dt) if bias else vsplat(0, dt)
    centre, total, squares = vload(statistics, dt), vload(statistics + 64, dt), vload(statistics + 128, dt)
    if first:
        centre, total, squares = vload(sums, dt) + start, vsplat(0, dt), vsplat(0, dt)
    for p in range(TILE_PIXELS):
        pixel = load_word(table + 8 * p)
        if pixel >= 0:
            element = pixel * plan.out_channels + channel
            y = vload(sums + p * _ACCUMULATOR_BYTES, dt) + start
            if addend:
                y = y + load(addend + 4 * element, count, dt)
            keep_either(out + size * element, y, count, stream, is_bf16, follows, dt)
            y = activated(y, follows, dt)
            put_either(out + size * element, y, count, stream, is_bf16, dt)
            away = y - centre
            total = total + away
            squares = vfma(away, away, squares)
    vstore(statistics, centre)
    vstore(statistics + 64, total)
    vstore(statistics + 128, squares)


@device
def _store_partial(partial, statistics, channel, count, plan, dt):
    for i in range(3):
        place = partial + (i * plan.out_channels + channel) * 4
        store(place, vload(statistics + 64 * i, dt), count, dt)


def _make_channels(multiply, vectors):
    """Make the pass over a block of pixels for one block of output channels."""

    @device
    def convolve(block, weights, runs, results, channels, ahead, plan, dt):
        """`channels` are the first one, and the one after the last of the group."""
        strip, table, sums, partial, used = block
        channel, last = channels
        cell = 2 * plan.pixel
        place_ahead, lines = ahead
        statistics = sums + TILE_PIXELS * _ACCUMULATOR_BYTES
        for f in range(0, used, TILE_PIXELS):
            place_ahead = ask_for_lines(place_ahead, lines)
            multiply(sums, strip + f * cell, cell, weights, runs, plan.group_in, dt)
            for v in range(vectors):
                k = channel + v * 16
                vector, place = (k, min(16, last - k)), statistics + v * 192
                _finish_vector(sums + v * 64, table + 8 * f, results, vector, place, f == 0, plan, dt)
        if partial:
            for v in range(vectors):
                k = channel + v * 16
                _store_partial(partial, statistics + v * 192, k, min(16, last - k), plan, dt)
        return place_ahead, lines

    return convolve


def _make_parts(pair, single):
    """Make the loop over blocks of output channels, of two vectors and at the end of one."""
    convolve_pair, convolve_single = _make_channels(pair, 2), _make_channels(single, 1)

    @device
    def convolve_parts(block, weights, runs, results, task, ahead, plan, dt):
        """`task` is the group and the part of its output channels."""
        group, split = task
        vectors, pairs = (plan.group_out + 15) // 16, plan.group_out // 32
        blocks = (vectors + 1) // 2
        k = group * plan.group_out
        last = k + plan.group_out
        for part in range(split * blocks // plan.splits, (split + 1) * blocks // plan.splits):
            if part < pairs:
                place, channels = weights + 2 * part * plan.chunks * BLOCK_BYTES, (k + 32 * part, last)
                ahead = convolve_pair(block, place, runs, results, channels, ahead, plan, dt)
            else:
                for v in range(2 * part, min(2 * part + 2, vectors)):
                    place, channels = weights + v * plan.chunks * BLOCK_BYTES, (k + 16 * v, last)
                    ahead = convolve_single(block, place, runs, results, channels, ahead, plan, dt)

    return convolve_parts


def _make_kernel(pair, single, tiles, name):
    convolve_parts = _make_parts(pair, single)

    def conv2d_bf16(begin, end, scratch, source, packed, epilogue, target, statistics, runs, configuration, plan):
        """`source` and `target` are an array of bytes and whether it is bfloat16, of the target also how to store."""
        (x, x_bf16), (out, out_bf16, stream) = source, target
        (bias, addend, follows), (partials, counts) = epilogue, statistics
        dt = bias.dtype
        x_size = 2 if x_bf16 else 4
        strip = address(scratch)
        table = strip + plan.strip_bytes
        sums = address(scratch) + scratch.size - 2 * TILE_PIXELS * _ACCUMULATOR_BYTES
        vectors = (plan.group_out + 15) // 16
        places = address(bias) if bias.size else 0, address(addend) if addend.size else 0
        results = Bf16Results(address(out), out_bf16, stream, places[0], places[1], follows)
        if tiles:
            amx.amx_configure(address(configuration))
        for task in range(begin, end):
            split = task % plan.splits
            block = task // plan.splits % plan.blocks
            group = task // (plan.splits * plan.blocks)
            image0 = block // plan.bands * plan.block_images
            images = min(plan.block_images, plan.batch - image0)
            row0 = block % plan.bands * plan.block_rows
            rows = min(plan.block_rows, plan.grid_h - row0)
            if task == begin:  # nobody asked for its input
                place, nbytes = next_rows(address(x), plan, block - 1, x_size)
                ask_for_lines(place, share_of_lines(nbytes, 1))
            round_strip(strip, (x, x_bf16), (image0, images, row0), group * plan.group_in, plan, dt)
            used = fill_table(table, image0, images, row0, rows, plan)
            partial = address(partials) + block * 12 * plan.out_channels if partials.size else 0
            if partials.size:
                counts[block] = images * rows * plan.grid_w
            weights = address(packed) + group * vectors * plan.chunks * BLOCK_BYTES
            ahead, ahead_bytes = next_rows(address(x), plan, block, x_size)
            times = (used + TILE_PIXELS - 1) // TILE_PIXELS * ((vectors + 1) // 2)
            ahead = ahead, share_of_lines(ahead_bytes, times) if plan.splits == 1 else 0
            pixels = StripBlock(strip, table, sums, partial, used)
            convolve_parts(pixels, weights, runs, results, (group, split), ahead, plan, dt)
        if tiles:
            amx.amx_release()

    conv2d_bf16.__name__ = name
    return kernel(conv2d_bf16)


conv2d_bf16_dot = _make_kernel(_make_dot(2), _make_dot(1), False, "conv2d_bf16_dot")
conv2d_bf16_tiles = _make_kernel(_multiply_tiles_pair, _multiply_tiles_single, True, "conv2d_bf16_tiles")


def convolve(x, weight, bias, geometry, epilogue, out, workspace):
    """Launch a convolution or the gradient of its input, and what follows it; see algorithms.py."""
    gathers = prepared_gathers(weight, x.shape, out.shape, geometry)
    convolve_gathers(x, weight, bias, gathers, epilogue, out, workspace)


def convolve_gathers(x, weight, bias, gathers, epilogue, out, workspace):
    """Launch a convolution, a launch for each of `gathers`."""
    _, addend, statistics, before = epilogue
    follows = following(epilogue.activation, out, before)
    transposed, packed, bias = weight.algorithm.transposed, weight.packed, or_nothing(bias, weight.weight.dtype)
    addend = or_nothing(addend, bias.dtype).reshape(-1)
    out_bf16 = out.dtype == STORED
    plans = [bf16_runs(gather, transposed=transposed) for gather in gathers]
    parts, start = part_arrays(plans[0].plan, statistics, workspace), 0
    for plan, run_table, _ in plans:
        stop = start + packed_bytes(plan)
        whole = out.nbytes >= STREAM_BYTES and plan.group_out % 16 == 0 and out.ctypes.data % VECTOR_BYTES == 0
        # Not of bfloat16, whose vectors are half a line.
        stream = int(whole and is_aligned(follows) and not addend.size and not out_bf16)
        row = plan.scratch_bytes + 2 * TILE_PIXELS * _ACCUMULATOR_BYTES
        scratch = page_rows(row, workspace)
        chosen = conv2d_bf16_tiles if amx.usable() else conv2d_bf16_dot
        source, target = (bytes_of(x), x.dtype == STORED), (bytes_of(out), out_bf16, stream)
        arguments = (source, packed[start:stop], (bias, addend, follows), target, parts)
        arguments = (*arguments, run_table, amx.CONFIGURATION, plan)
        launch(chosen, plan.groups * plan.blocks * plan.splits, *arguments, scratch=scratch)
        start = stop
    if statistics is not None:
        combine_parts(parts, out, statistics)
