"""Winograd convolution F(4x4, 3x3) and F(2x2, 5x5): forward and backward-input with stride 1, in float32.

A 6x6 patch of the input gives 4x4 outputs of a 3x3 kernel with 36 multiplications for each pair of channels instead
of 144, or 2x2 outputs of a 5x5 kernel instead of 100, see winograd_transforms.py. Backward-input is the same sum with
the weight turned by 180 degrees, channels exchanged and padding R - 1 - p.

A task is a block of tiles. It transforms their patches into 36 planes (tile, input channel); then for each pair of
vectors of output channels it multiplies every plane with the transformed weight (register tiles of ROWS tiles x two
vectors, as everywhere) and transforms the 36 products of each tile back, adding the bias. So the products of a block
take 36 * tiles * 128 bytes and stay in the L2 cache with the planes, while the weight streams through it. Where the
weight outgrows the L3 cache, or there are few tiles and more than one group of output channels, the planes of all tiles
come first, in a launch of their own, and a task is a part of the output channels over many tiles, so that the weight is
read once.

Cost: a quarter of the direct flops in the products, plus some 150 vector instructions a patch and channel vector for
each transform. Error: larger than direct, see kernels/README.md; strict precision never comes here. With a weight of
16-bit numbers the planes are rounded to such too, and multiplied in fixed point (winograd_fixed.py).
"""

import math

import numpy as np

from .ahead import ask_at_once, ask_to_write, bytes_a_step, far_from_tile, take_turn
from .conv2d_direct import AHEAD_BYTES
from .fixed import FIXED, WORD_BYTES
from .gather import ROWS, TILE_VECTORS
from .launch import device, get_num_threads, kernel, launch
from .simd import (
    LINE_BYTES,
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    prefetch,
    prefetch_far,
    vsplat,
    vstore,
)
from .stored import STORED
from .tile import row_steps, tile_multiply_add, tile_store, tile_zero
from .winograd_ahead import NOTHING_BESIDE, NOWHERE, beside, look_ahead
from .winograd_fixed import make_multiply_fixed, norm_of_planes, round_tile
from .winograd_output import combine_partial_statistics, transform_outputs
from .winograd_plan import plan_for, round_to_lines
from .winograd_transforms import (
    PATCH,
    PLANES,
    SMALL_TILE,
    TILE,
    next_tile,
    patch_rows,
    prefetch_patch,
    transform_patch,
)

_TURN_TILES = 2


@device
def transform_inputs(x, zeros, values, plane_bytes, first, tiles, plan, dt):
    """Transform the patches of a block of tiles into the planes at `values`."""
    stored = x.dtype
    size, stored_size = itemsize(dt), itemsize(stored)
    width = lanes(dt)
    pixel_bytes = plan.in_channels * stored_size
    row_bytes = plan.in_w * pixel_bytes
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    for t in range(tiles):
        h, w = i * plan.tile - plan.pad_top, j * plan.tile - plan.pad_left
        start = address(x) + ((image * plan.in_h + h) * plan.in_w + w) * pixel_bytes
        rows = patch_rows(start, h, row_bytes, zeros, plan.in_h)
        target = values + t * plan.row_v * size
        for c in range(0, plan.in_channels, width):
            shift, count = c * stored_size, min(width, plan.in_channels - c)
            if shift % LINE_BYTES == 0:
                prefetch_patch(start, shift, row_bytes, pixel_bytes)
            place = target + c * size
            transform_patch(rows, w, plan.in_w, pixel_bytes, shift, count, place, plane_bytes, stored, dt)
        image, i, j = next_tile(image, i, j, plan)


@device
def spare_of(zeros, plan):
    """Where the planes of one tile have their place, behind the buffer of zeros."""
    return zeros + (PATCH * plan.in_channels + VECTOR_BYTES) // 16 * LINE_BYTES


@device
def clear_zeros(zeros, plan, dt):
    """Clear the buffer that stands for rows outside the image, and the planes of one tile behind their channels."""
    end = spare_of(zeros, plan) + PLANES * plan.spare * itemsize(dt) if plan.spare else zeros
    for place in range(zeros, max(end, zeros + PATCH * plan.in_channels * itemsize(dt)), VECTOR_BYTES):
        vstore(place, vsplat(0, dt))


def make_fill_planes(read):
    """Make what fills the planes of some tiles: by ``read``, and rounded if their elements have the size of a word."""

    @device
    def fill_planes(source, zeros, values, steps, first, tiles, plan, size, dt):
        if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
            if size == WORD_BYTES:
                spare, plane_bytes = spare_of(zeros, plan), plan.spare * itemsize(dt)
                for t in range(tiles):
                    read(source, zeros, spare, plane_bytes, first + t, 1, plan, dt)
                    norm = norm_of_planes(spare, plane_bytes, plan.in_channels, dt)
                    target, step = values + t * plan.row_v * size, steps + t * itemsize(dt)
                    round_tile(spare, plane_bytes, norm, target, step, plan, dt)
                return
        read(source, zeros, values, plan.plane_v * size, first, tiles, plan, dt)

    return fill_planes


def _make_multiply(vectors, far):
    """Make the product of all planes of a block with the weight of one group of `vectors` vectors.

    Each step asks for lines: of planes that are `far` and of the weight, else of what is `ahead`. Only where a step is
    one vector of float32, and bound by loads, they are asked for before the steps (`conv2d_winograd_norm_narrow` of
    128x32x32x16 on Zen 5: 0.96 ms, 1.03 with two lines a step).
    """
    in_steps = vectors > 1 and not far

    @device
    def multiply_planes(values, weights, products, tiles, ahead, plan, dt):
        size = itemsize(dt)
        row_v, row_m = plan.row_v * size, vectors * VECTOR_BYTES
        plane_v, plane_u = plan.plane_v * size, plan.plane_u * size
        output, output_bytes, turns = ahead
        for plane in range(PLANES):
            source = values + plane * plane_v
            target = products + plane * plan.rows * row_m
            for t in range(0, tiles, ROWS):
                rows = row_steps(ROWS, source + t * row_v, row_v)
                place = weights
                output = ask_to_write(output, output_bytes)
                if in_steps:
                    asked, asked_bytes, turns = take_turn(turns)
                    ask_step = bytes_a_step(asked_bytes, plan.in_channels)
                elif not far:
                    turns = ask_at_once(turns)
                if far:
                    next_v, step_v, next_u, step_u = far_from_tile(
                        source, weights, t, tiles, row_v, plane_v, plane_u, plan.in_channels
                    )
                acc = tile_zero(ROWS, vectors, dt)
                for shift in range(0, plan.in_channels * size, size):
                    for line in range(0, vectors * VECTOR_BYTES, LINE_BYTES):
                        prefetch(place + AHEAD_BYTES + line)
                    if in_steps:
                        prefetch_far(asked)
                        asked += ask_step
                    if far:
                        prefetch_far(next_v)
                        prefetch_far(next_u)
                        next_v, next_u = next_v + step_v, next_u + step_u
                    acc = tile_multiply_add(acc, rows, shift, place)
                    place += vectors * VECTOR_BYTES
                tile_store(acc, row_steps(ROWS, target + t * row_m, row_m))
            weights += plane_u
        return output, output_bytes, turns

    return multiply_planes


def make_groups(vectors, transform, in_turns, far=False):
    """Make the second half of a task: products and output transform, group by group of output channels.

    ``transform(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt)`` takes one vector of
    channels of some tiles of a block; `fresh` if they are its first ones. The vectors of a group may take turns every
    two tiles: lines beside each other, written one soon after the other, go past the caches twice as fast (back
    transform of 128x16x16x128 on Zen 5: 0.56 ms vector by vector, 0.31 in turns; every four tiles, 0.59). Planes that
    are `far`, in an array of their own, are asked for ahead.
    """
    multiply_planes, multiply_fixed = _make_multiply(vectors, far), make_multiply_fixed(vectors, far)

    @device
    def multiply(values, weights, group, products, tiles, ahead, plan, dt):
        place = address(weights) + group * PLANES * plan.plane_u * itemsize(weights.dtype)
        if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
            if itemsize(weights.dtype) == WORD_BYTES:
                return multiply_fixed(values, place, products, tiles, ahead, plan, dt)
        return multiply_planes(values, place, products, tiles, ahead, plan, dt)

    @device
    def convolve_groups(values, products, weights, finish, block, begin, end, ahead, plan, dt):
        first = block * plan.block_tiles
        tiles = min(plan.block_tiles, plan.tiles - first)
        for group in range(begin, end):
            ahead = multiply(values, weights, group, products, tiles, ahead, plan, dt)
            row = vectors * VECTOR_BYTES
            together = _TURN_TILES if in_turns and vectors > 1 and plan.stream else tiles
            for t in range(0, tiles, together):
                some = min(together, tiles - t)
                for v in range(vectors):
                    channel = (group * vectors + v) * lanes(dt)
                    if channel < plan.out_channels:
                        source = products + t * row + v * VECTOR_BYTES
                        transform(source, row, finish, block, first + t, some, channel, t == 0, plan, dt)

    return convolve_groups


@device
def groups_of(plan, dt):
    """Return how many groups of output channels there are."""
    return (plan.out_channels + plan.vectors * lanes(dt) - 1) // (plan.vectors * lanes(dt))


def make_convolve_blocks(vectors, transform, read=transform_inputs, *, in_turns=False):
    """Make the loop over blocks whose tasks transform their own input.

    ``read(source, zeros, values, plane_bytes, first, tiles, plan, dt)`` does that.
    """
    convolve_groups = make_groups(vectors, transform, in_turns)
    fill_planes = make_fill_planes(read)

    @device
    def convolve_blocks(begin, end, scratch, x, source, weights, finish, out, others, plan):
        """Blocks `begin` to `end` - 1; `out` is written, and `others` are read where it is (see `look_ahead`).

        `source` is what `read` takes, `x` for instance.
        """
        dt = scratch.dtype
        values = address(scratch)
        products = values + plan.block_v * itemsize(weights.dtype)
        zeros = products + PLANES * plan.rows * vectors * VECTOR_BYTES
        groups = groups_of(plan, dt)
        clear_zeros(zeros, plan, dt)
        for block in range(begin, end):
            first = block * plan.block_tiles
            tiles = min(plan.block_tiles, plan.tiles - first)
            steps = values + PLANES * plan.plane_v * itemsize(weights.dtype)
            fill_planes(source, zeros, values, steps, first, tiles, plan, itemsize(weights.dtype), dt)
            ahead = look_ahead(x, out, others, block, groups, plan)
            convolve_groups(values, products, weights, finish, block, 0, groups, ahead, plan, dt)

    return convolve_blocks


def _make_transform(small):
    """Make what writes the outputs of a vector of channels; see `make_groups`."""

    @device
    def transform(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt):
        out, bias, addend, partials, counts, floor = finish
        partial = partials + block * 3 * plan.out_channels * itemsize(dt) if partials else 0
        parts = out, bias, addend, partial, floor
        outputs = transform_outputs(products, row_bytes, parts, first, tiles, channel, fresh, plan, small, dt)
        if channel == 0 and partial != 0:
            counts[block] = outputs + (0 if fresh else counts[block])

    return transform


def _make_fused(vectors, small, name):
    """Make the kernel whose tasks transform their own input."""
    convolve_blocks = make_convolve_blocks(vectors, _make_transform(small), in_turns=True)

    def fused(begin, end, scratch, x, weights, bias, addend, floor, out, partials, counts, plan):
        finish = out, place_of(bias), place_of(addend), place_of(partials), counts, floor
        others = beside(addend), NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

    fused.__name__ = name
    return kernel(fused)


def _make_shared(small, name):
    """Make the kernel whose tasks find their input transformed, each for a part of the output channels."""
    convolve_groups = make_groups(TILE_VECTORS, _make_transform(small), True, far=True)

    def shared(begin, end, scratch, values, weights, bias, addend, floor, out, partials, counts, plan):
        dt = bias.dtype
        finish = out, place_of(bias), place_of(addend), place_of(partials), counts, floor
        groups = groups_of(plan, dt)
        nobody = NOWHERE, NOWHERE, NOWHERE, NOWHERE
        nothing_ahead = NOWHERE, NOWHERE, (nobody, nobody, NOWHERE)
        for task in range(begin, end):
            split, block = task // plan.blocks, task % plan.blocks
            convolve_groups(
                *(address(values) + block * plan.block_v * itemsize(values.dtype), address(scratch), weights),
                *(finish, block, split * groups // plan.splits, (split + 1) * groups // plan.splits, nothing_ahead),
                *(plan, dt),
            )

    shared.__name__ = name
    return kernel(shared)


@device
def place_of(array):
    """Address of an array, 0 of an empty one."""
    return address(array) if array.size else 0


conv2d_winograd = _make_fused(2, False, "conv2d_winograd")
conv2d_winograd_narrow = _make_fused(1, False, "conv2d_winograd_narrow")
conv2d_winograd_shared = _make_shared(False, "conv2d_winograd_shared")
conv2d_winograd_5x5 = _make_fused(2, True, "conv2d_winograd_5x5")
conv2d_winograd_5x5_narrow = _make_fused(1, True, "conv2d_winograd_5x5_narrow")
conv2d_winograd_5x5_shared = _make_shared(True, "conv2d_winograd_5x5_shared")
_FUSED = {  # by vectors, tile
    (1, TILE): conv2d_winograd_narrow,
    (2, TILE): conv2d_winograd,
    (1, SMALL_TILE): conv2d_winograd_5x5_narrow,
    (2, SMALL_TILE): conv2d_winograd_5x5,
}
_SHARED = {TILE: conv2d_winograd_shared, SMALL_TILE: conv2d_winograd_5x5_shared}


_fill_planes = make_fill_planes(transform_inputs)


@kernel
def winograd_transform_input(begin, end, scratch, x, values, plan):
    """The planes of one block of tiles, up to ROWS tiles a task."""
    dt = scratch.dtype
    clear_zeros(address(scratch), plan, dt)
    strips = plan.rows // ROWS
    for task in range(begin, end):
        block, strip = divmod(task, strips)
        first = block * plan.block_tiles + strip * ROWS
        tiles = min(ROWS, plan.block_tiles - strip * ROWS, plan.tiles - first)
        place = address(values) + block * plan.block_v * itemsize(values.dtype)
        target = place + strip * ROWS * plan.row_v * itemsize(values.dtype)
        steps = place + PLANES * plan.plane_v * itemsize(values.dtype) + strip * ROWS * itemsize(dt)
        _fill_planes(x, address(scratch), target, steps, first, tiles, plan, itemsize(values.dtype), dt)


_NOTHING = np.empty(0, np.float32)
_NO_PARTIALS, _NO_COUNTS = np.empty((0, 3, 0), np.float32), np.empty(0, np.int64)


def run(x, weights, bias, pad_top, pad_left, out, workspace, *, tile, floor=-math.inf, addend=None, statistics=None):
    """Launch the convolution of `x` with a transformed weight, and what was asked for behind it.

    ``max(conv2d(x) + bias + addend, floor)``; `statistics` are the arrays for mean and variance of the result.
    """
    plan = plan_for(weights, x.shape, out.shape, pad_top, pad_left, tile)
    if not plan.tiles:
        return
    # Streaming to lines that were just read, as when the addend is the output, takes half as long again.
    # A vector of bfloat16 is half a line: 128x32x32x16 takes 0.70 ms with streaming, 0.60 without.
    if plan.stream and (addend is not None or out.ctypes.data % VECTOR_BYTES or out.dtype == STORED):
        plan = plan._replace(stream=0)
    addend = _NOTHING if addend is None else addend.reshape(-1)
    partials, counts = _NO_PARTIALS, _NO_COUNTS
    if statistics is not None:
        partials = workspace.empty((plan.blocks, 3, plan.out_channels), np.float32)
        counts = workspace.empty((plan.blocks,), np.int64)
    finish = (bias, addend, floor, out, partials, counts, plan)
    _launch(x, weights, finish, plan, workspace)
    if statistics is not None:
        tasks = -(-plan.out_channels // (VECTOR_BYTES // 4))
        launch(combine_partial_statistics, tasks, partials, counts, *statistics)


def block_scratch(plan, workspace):
    """Return scratch for the tasks that transform their own input, a row for each thread."""
    planes = plan.block_v * (WORD_BYTES if plan.spare else 4) // 4
    products = PLANES * plan.rows * plan.vectors * VECTOR_BYTES // 4
    return workspace.empty((get_num_threads(), round_to_lines(planes + products + _zeros(plan))), np.float32)


def _zeros(plan):
    """Elements of the buffer of zeros, and of the planes of a tile behind it."""
    return round_to_lines(PATCH * plan.in_channels + VECTOR_BYTES) + PLANES * plan.spare


def _launch(x, weights, finish, plan, workspace):
    if not plan.shared:
        fused = _FUSED[plan.vectors, plan.tile]
        launch(fused, plan.blocks, x, weights, *finish, scratch=block_scratch(plan, workspace))
        return
    threads = get_num_threads()
    values = workspace.empty((plan.blocks * plan.block_v,), weights.dtype)
    scratch = workspace.empty((threads, _zeros(plan)), np.float32)
    launch(winograd_transform_input, plan.blocks * (plan.rows // ROWS), x, values, plan, scratch=scratch)
    products = round_to_lines(PLANES * plan.rows * plan.vectors * VECTOR_BYTES // 4)
    scratch = workspace.empty((threads, products), np.float32)
    launch(_SHARED[plan.tile], plan.blocks * plan.splits, values, weights, *finish, scratch=scratch)
