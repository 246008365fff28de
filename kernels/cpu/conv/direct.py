"""Direct convolution: forward, backward-input and dense layers as one gathered matrix product.

A task is a block of output pixels, and where there are few of those also a part of the output channels, of one group.
Its input is copied, block of channels by block of channels, into a strip padded with zeros (or read in place where no
tap leaves the image), so the inner loop has no edge; then tiles of ROWS pixels by two vectors of output channels run
over all taps and channels of the block. Pixels are found through a table, so a tile spans rows and images and fills on
4x4 maps as well; the last tile of a block repeats its last pixel.

x is (batch, in_h, in_w, in_channels), out (batch, out_h, out_w, out_channels), the weight as pack.py writes it:
[group][pair of vectors][block of input channels][tap][input channel][vector].

Cost: 2 * N * P * Q * K * (C / groups) * R * S flops; bound by the fused multiply-add units (230 of 247 GFLOP/s a core
on a 13 x 2 tile). Copying the strip is one read of the input, a few percent.
"""

from typing import NamedTuple

import numpy as np

from ..elementwise.following import activated, by_function, following, is_floor, keep
from ..elementwise.maps import copy
from ..norm import batch_norm
from ..runtime.cpu_caches import CACHES
from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, or_nothing, store
from ..vector.prefetch import AHEAD_BYTES, bytes_a_step
from ..vector.simd import (
    STREAM_BYTES,
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    load_word,
    prefetch,
    prefetch_far,
    vsplat,
)
from ..vector.tile import (
    ROWS,
    TILE_VECTORS,
    row_addresses,
    tile_add,
    tile_floor,
    tile_load,
    tile_load_part,
    tile_multiply_add,
    tile_store,
    tile_store_part,
    tile_store_stream,
    tile_zero,
)
from .pack import packed_size
from .plan import flat, prepared_gathers
from .strip import ImageRegion, Images, copy_strip, fill_tables, next_rows, page_rows

_AHEAD_INPUT_BYTES = CACHES.level2 // 2  # of the next block, beside this one
# Weights that stay near while all of them pass a tile of pixels, whose outputs are then written one beside the other
# (1x1, 64 to 256 channels on 128x16x16, Zen 5: 2.6 to 2.35 ms); of others one pair of vectors passes all pixels.
_NEAR_WEIGHT_BYTES = CACHES.level2 // 8


class Pixels(NamedTuple):
    """A block of output pixels."""

    count: int
    table_in: int  # addresses of the tables of pixels, read and written
    table_out: int
    source: int  # address of the first pixel that is read
    pixel_bytes: int


class Weights(NamedTuple):
    """The packed weight of a group, and which of its input channels are multiplied."""

    address: int
    runs: np.ndarray
    first: int  # input channel
    channels: int


class DirectResults(NamedTuple):
    """Where sums go, and what follows them; addresses are of a group's first channel, 0 of no bias."""

    out: int
    bias: int
    add: bool  # to what is there
    follows: float  # or an activation, see following.py
    stream: int


def _make_multiply(vectors):
    """Make the inner loops for tiles of `vectors` vectors: acc += taps x weights; a step asks for a line at `place`."""

    @device
    def multiply(acc, rows, weights, runs, steps, ahead, dt):
        """`steps` are bytes of a pixel and of a run, `ahead` is the place asked for and the step to the next one."""
        size = itemsize(dt)
        pixel_bytes, run_bytes = steps
        place, step = ahead
        for run in runs:
            start = run * pixel_bytes
            for shift in range(start, start + run_bytes, size):
                prefetch(weights + AHEAD_BYTES)
                prefetch(weights + AHEAD_BYTES + (vectors - 1) * VECTOR_BYTES)
                prefetch_far(place)
                place += step
                acc = tile_multiply_add(acc, rows, shift, weights)
                weights += vectors * VECTOR_BYTES
        return acc

    return multiply


_multiply_pair = _make_multiply(TILE_VECTORS)
_multiply_single = _make_multiply(1)


@device
def _least(follows, last, dt):
    return vsplat(follows if last else -np.inf, dt)


@device
def _no_least(follows, last, dt):
    return vsplat(-np.inf, dt)


@device
def _no_activation(table, base, row_step, rows, channels, follows, dt):
    pass


@device
def _activate(table, base, row_step, rows, channels, follows, dt):
    """Some rows of a tile that fills the registers, and so was stored first: while it is in the cache."""
    for i in range(rows):
        row = base + row_step * load_word(table + 8 * i)
        for c in range(0, channels, lanes(dt)):
            place, count = row + c * itemsize(dt), min(lanes(dt), channels - c)
            value = load(place, count, dt)
            keep(place, value, count, False, follows, dt, dt)
            store(place, activated(value, follows, dt), count, dt)


_least_of = by_function(_least, lambda name: _no_least)
_activate_tile = by_function(_no_activation, lambda name: _activate)
"""What follows, other than a floor: of so many pixels and channels, from a table and the address of pixel 0."""


@device
def _multiply_block(pixels, packed, outs, results, ahead, plan, dt):
    """All tiles of a block of pixels for one block of input channels and the output channels in the range `outs`.

    The first block of input channels starts from the bias, later ones, or all if `add`, add to what is there; after
    the last one comes what follows. `ahead` is (address, bytes) of what the next block reads.
    """
    count, table_in, table_out, source, pixel_bytes = pixels
    weight, runs, c0, channels = packed
    out, bias, add, follows, stream = results
    width = lanes(dt)
    size = itemsize(dt)
    out_bytes = plan.out_channels * size
    run_steps = pixel_bytes, plan.run_taps * channels * size
    steps = plan.taps * plan.group_in
    pair = TILE_VECTORS * width
    paired = min(outs[1], plan.group_out // pair * pair)
    last = c0 + channels == plan.group_in
    least = _least_of(follows, last, dt)
    tiles, pairs = (count + ROWS - 1) // ROWS, max((paired - outs[0]) // pair, 0)
    tile_steps = plan.taps * channels
    place, nbytes = ahead
    step = bytes_a_step(nbytes, max(tiles * pairs, 1) * tile_steps)
    pixels_first = steps * (outs[1] - outs[0]) * size > _NEAR_WEIGHT_BYTES
    for tile in range(tiles * pairs):
        pixel = (tile % tiles if pixels_first else tile // pairs) * ROWS
        k = outs[0] + (tile // tiles if pixels_first else tile % pairs) * pair
        rows = row_addresses(ROWS, table_in + 8 * pixel, pixel_bytes, source)
        targets = row_addresses(ROWS, table_out + 8 * pixel, out_bytes, out + k * size)
        acc = tile_zero(ROWS, TILE_VECTORS, dt)
        if bias != 0 and c0 == 0:
            acc = tile_load(acc, row_addresses(ROWS, table_in, 0, bias + k * size))
        if c0 > 0 or add:
            acc = tile_add(acc, tile_load(acc, targets))
        weights = weight + (steps * k + plan.taps * c0 * pair) * size
        acc = _multiply_pair(acc, rows, weights, runs, run_steps, (place, step), dt)
        place += tile_steps * step
        acc = tile_floor(acc, least)
        if stream:
            tile_store_stream(acc, targets)
        else:
            tile_store(acc, targets)
        rows_done = min(ROWS, count - pixel) if last else 0  # without those that are repeated
        _activate_tile(table_out + 8 * pixel, out + k * size, out_bytes, rows_done, pair, follows, dt)
    for k in range(max(outs[0], paired), outs[1], width):
        weights = weight + (steps * k + plan.taps * c0 * width) * size
        rest = min(width, plan.group_out - k)
        for pixel in range(0, count, ROWS):
            rows = row_addresses(ROWS, table_in + 8 * pixel, pixel_bytes, source)
            targets = row_addresses(ROWS, table_out + 8 * pixel, out_bytes, out + k * size)
            acc = tile_zero(ROWS, 1, dt)
            if bias != 0 and c0 == 0:
                acc = tile_load_part(acc, row_addresses(ROWS, table_in, 0, bias + k * size), rest)
            if c0 > 0 or add:
                acc = tile_add(acc, tile_load_part(acc, targets, rest))
            acc = _multiply_single(acc, rows, weights, runs, run_steps, (source, 0), dt)
            tile_store_part(tile_floor(acc, least), targets, rest)
            rows_done = min(ROWS, count - pixel) if last else 0
            _activate_tile(table_out + 8 * pixel, out + k * size, out_bytes, rows_done, rest, follows, dt)


@device
def _prefetches(x, plan, block, size):
    """Where the input begins that the block after `block` adds, and its bytes; nothing if they come in parts."""
    place, nbytes = next_rows(x, plan, block, size)
    whole = plan.splits == 1 and plan.block_channels >= plan.group_in and nbytes <= _AHEAD_INPUT_BYTES
    return place, nbytes if whole else 0


@kernel
def conv2d_direct(begin, end, scratch, x, packed, bias, add, follows, out, stream, runs, plan):
    """One block of output pixels of one group, and one part of its output channels, a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    padded = (plan.group_out + width - 1) // width * width
    pairs = (padded // width + TILE_VECTORS - 1) // TILE_VECTORS
    table_in = address(scratch)
    table_out = table_in + 8 * (plan.block_images * plan.block_rows * plan.grid_w + ROWS)
    strip = 2 * table_out - table_in
    strip_w = (plan.grid_w - 1) * plan.stride_w + plan.span_w
    inputs = Images(address(x), plan.in_h, plan.in_w, plan.in_channels)
    for task in range(begin, end):
        block = task // plan.splits % plan.blocks
        group = task // (plan.splits * plan.blocks)
        split = task % plan.splits
        outs = (
            split * pairs // plan.splits * TILE_VECTORS * width,
            min((split + 1) * pairs // plan.splits * TILE_VECTORS * width, plan.group_out),
        )
        image0 = block // plan.bands * plan.block_images
        images = min(plan.block_images, plan.batch - image0)
        row0 = block % plan.bands * plan.block_rows
        rows = min(plan.block_rows, plan.grid_h - row0)
        strip_h = (rows - 1) * plan.stride_h + plan.span_h
        pixels = fill_tables(table_in, table_out, plan, image0, images, row0, rows)
        target = address(out) + group * plan.group_out * size
        bias_place = address(bias) + group * plan.group_out * size if bias.size else 0
        results = DirectResults(target, bias_place, add, follows, stream)
        weights = address(packed) + group * plan.taps * plan.group_in * padded * size
        region = ImageRegion(row0 * plan.stride_h + plan.first_dh, plan.first_dw, strip_h, strip_w)
        for c0 in range(0, plan.group_in, plan.block_channels):
            channels = min(plan.block_channels, plan.group_in - c0)
            channel = group * plan.group_in + c0
            if plan.in_place:
                source, pixel_bytes = address(x) + channel * size, plan.in_channels * size
            else:
                source, pixel_bytes = strip, channels * size
                for n in range(images):
                    strip_n = strip + n * strip_h * strip_w * pixel_bytes
                    copy_strip(strip_n, channels, inputs, image0 + n, region, (channel, channels), dt)
            block_pixels = Pixels(pixels, table_in, table_out, source, pixel_bytes)
            ahead = _prefetches(address(x), plan, block, size)
            _multiply_block(block_pixels, Weights(weights, runs, c0, channels), outs, results, ahead, plan, dt)


def _launch_gather(x, packed, bias, out, gather, workspace, *, add, follows):
    """Launch one plan; `packed` is its part of the packed weight.

    ``activation(conv2d(x) + bias)``; with `add`, what is in `out` counts too.
    """
    plan = flat(gather.plan, x.itemsize)
    scratch = page_rows(plan.scratch_bytes, workspace)
    stream = (
        out.nbytes >= STREAM_BYTES
        and not add
        and is_floor(follows)  # others read it again
        and plan.block_channels >= plan.group_in
        and plan.group_out * out.itemsize % (TILE_VECTORS * VECTOR_BYTES) == 0
        and out.ctypes.data % VECTOR_BYTES == 0
    )
    arguments = (x, packed, bias, add, follows, out, int(stream), gather.runs, plan)
    launch(conv2d_direct, plan.groups * plan.blocks * plan.splits, *arguments, scratch=scratch)


def convolve(x, weight, bias, geometry, epilogue, out, workspace):
    """Launch a convolution or the gradient of its input, and what follows it; see algorithms.py."""
    gathers = prepared_gathers(weight, x.shape, out.shape, geometry)
    convolve_gathers(x, weight, bias, gathers, epilogue, out, workspace)


def convolve_gathers(x, weight, bias, gathers, epilogue, out, workspace):
    """Launch a convolution, a launch for each of `gathers`."""
    addend, statistics = epilogue.addend, epilogue.statistics
    if addend is not None and addend is not out:
        copy(addend, out=out)
    follows = following(epilogue.activation, out, epilogue.before)
    bias, start = or_nothing(bias, x.dtype), 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, x.itemsize)
        part = weight.packed[start:stop]
        _launch_gather(x, part, bias, out, gather, workspace, add=addend is not None, follows=follows)
        start = stop
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)
