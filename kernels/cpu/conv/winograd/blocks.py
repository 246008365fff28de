"""Parts of the Winograd convolutions: a block of tiles is transformed, multiplied and handed on.

Planes are [plane][tile][input channel], products [plane][tile][vector of the group], weights
[group][plane][input channel][vector of the group]; see __init__.py.
"""

from typing import NamedTuple

import numpy as np

from ...runtime.launch import device, get_num_threads
from ...vector.fixed_point import FIXED, WORD_BYTES
from ...vector.prefetch import AHEAD_BYTES, ask_to_write, bytes_a_step
from ...vector.simd import LINE_BYTES, VECTOR_BYTES, address, itemsize, lanes, prefetch, prefetch_far, vsplat, vstore
from ...vector.tile import ROWS, row_steps, tile_multiply_add, tile_store, tile_zero
from .fixed_point import make_multiply_fixed, norm_of_planes, round_tile
from .plan import round_to_lines
from .prefetch import ask_at_once, far_from_tile, prefetches, take_turn
from .transforms import PLANES, WIDE, Patch, Planes, patch_rows, prefetch_patch, transform_patch
from .walk import make_walk

_TURN_TILES = 2


class Input(NamedTuple):
    """What is transformed to planes: some channels of `x`, and where to."""

    x: np.ndarray
    zeros: int  # address of a row of zeros, which stands for those outside the image
    planes: Planes  # of the first tile
    channel: int
    channels: int


class TileBlock(NamedTuple):
    """A block of tiles: its number, and the addresses of its planes and of its products."""

    number: int
    values: int
    products: int


class PlaneFactors(NamedTuple):
    """Addresses for one product: a plane of the input, one of the weight, where to, and the steps of the tiles."""

    values: int
    weights: int
    products: int
    steps: int


class Products(NamedTuple):
    """The products of some tiles of a block with one vector of output channels."""

    address: int
    row_bytes: int  # from tile to tile
    block: int
    first: int  # number of the first tile in the batch
    tiles: int
    channel: int
    fresh: bool  # whether they are the first ones of their block


@device
def _transform_input(tile, job, plan, state, dt):
    stored = job.x.dtype
    size, stored_size = itemsize(dt), itemsize(stored)
    pixel_bytes = plan.in_channels * stored_size
    row_bytes = plan.in_w * pixel_bytes
    h, w = tile.i * plan.tile_h - plan.pad_top, tile.j * plan.tile_w - plan.pad_left
    start = address(job.x) + ((tile.image * plan.in_h + h) * plan.in_w + w) * pixel_bytes + job.channel * stored_size
    patch = Patch(patch_rows(start, h, row_bytes, job.zeros, plan.in_h), w, plan.in_w, pixel_bytes)
    target = job.planes.address + tile.number * plan.row_v * size
    for c in range(0, job.channels, lanes(dt)):
        shift, count = c * stored_size, min(lanes(dt), job.channels - c)
        if shift % LINE_BYTES == 0:
            prefetch_patch(start, shift, row_bytes, pixel_bytes)
        transform_patch(patch, shift, count, Planes(target + c * size, job.planes.step), stored, dt)
    return state


walk_inputs = make_walk(_transform_input)


@device
def transform_inputs(x, zeros, planes, first, tiles, plan, dt):
    """Transform the patches of some tiles."""
    walk_inputs(first, tiles, Input(x, zeros, planes, 0, plan.in_channels), plan, 0, dt)


@device
def spare_of(zeros, plan):
    """Where the planes of one tile have their place, after the buffer of zeros."""
    return zeros + (plan.patch_w * plan.in_channels + VECTOR_BYTES) // 16 * LINE_BYTES


@device
def clear_zeros(zeros, plan, dt):
    """Clear the buffer that stands for rows outside the image, and the planes of one tile after their channels."""
    end = spare_of(zeros, plan) + plan.planes * plan.spare * itemsize(dt) if plan.spare else zeros
    for place in range(zeros, max(end, zeros + plan.patch_w * plan.in_channels * itemsize(dt)), VECTOR_BYTES):
        vstore(place, vsplat(0, dt))


def make_fill_planes(read):
    """Make what fills the planes of some tiles: by ``read``, and rounded if their elements have the size of a word."""

    @device
    def fill_planes(source, zeros, target, first, tiles, plan, size, dt):
        """Write from where `target` says: addresses of the values and, where these are words, of the tiles' steps."""
        values, steps = target
        if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
            if size == WORD_BYTES:
                spare = Planes(spare_of(zeros, plan), plan.spare * itemsize(dt))
                for t in range(tiles):
                    read(source, zeros, spare, first + t, 1, plan, dt)
                    norm = norm_of_planes(spare.address, spare.step, plan.in_channels, dt)
                    words, step = values + t * plan.row_v * size, steps + t * itemsize(dt)
                    round_tile(spare.address, spare.step, norm, words, step, plan, dt)
                return
        read(source, zeros, Planes(values, plan.plane_v * size), first, tiles, plan, dt)

    return fill_planes


def make_multiply_floats(vectors, far=False, *, ahead_bytes=AHEAD_BYTES, in_place=False):
    """Make the product of a plane of some tiles with the weight of one group of `vectors` vectors.

    Each step asks for lines: of planes that are `far` and of the weight, else of what is `ahead`. Only where a step is
    one vector of float32, and bound by loads, they are asked for before the steps (`conv2d_winograd_norm_narrow` of
    128x32x32x16 on Zen 5: 0.96 ms, 1.03 with two lines a step). Products that take the place of a plane, `in_place`,
    have its rows, all output channels of a tile side by side.
    """
    in_steps = vectors > 1 and not far

    @device
    def multiply_floats(source, weights, target, tiles, ahead, plan, dt):
        size = itemsize(dt)
        row_v = plan.row_v * size
        row_m = row_v if in_place else vectors * VECTOR_BYTES
        output, output_bytes, turns = ahead
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
                    source, weights, t, tiles, row_v, plan.plane_v * size, plan.plane_u * size, plan.in_channels
                )
            acc = tile_zero(ROWS, vectors, dt)
            for shift in range(0, plan.in_channels * size, size):
                for line in range(0, vectors * VECTOR_BYTES, LINE_BYTES):
                    prefetch(place + ahead_bytes + line)
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
        return output, output_bytes, turns

    return multiply_floats


def _make_multiply(vectors, far):
    """As `make_multiply_floats`, in fixed point too."""
    multiply_floats, multiply_fixed = make_multiply_floats(vectors, far), make_multiply_fixed(vectors, far)

    @device
    def multiply(factors, tiles, ahead, plan, size, dt):
        """The elements of the weight have `size` bytes."""
        source, weights, target, steps = factors
        if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
            if size == WORD_BYTES:
                return multiply_fixed(source, weights, target, steps, tiles, ahead, plan, dt)
        return multiply_floats(source, weights, target, tiles, ahead, plan, dt)

    return multiply


def make_groups(vectors, transform, in_turns, far=False):
    """Make the second half of a task: products and output transform, group by group of output channels.

    ``transform(products, epilogue, plan, dt)`` takes one vector of channels of some tiles of a block. The vectors of a
    group may take turns every two tiles: lines beside each other, written one soon after the other, go past the caches
    twice as fast (back transform of 128x16x16x128 on Zen 5: 0.56 ms vector by vector, 0.31 in turns; every four tiles,
    0.59). Planes that are `far`, in an array of their own, are asked for ahead.
    """
    multiply = _make_multiply(vectors, far)

    @device
    def convolve_groups(block, weights, epilogue, groups, ahead, plan, dt):
        """Compute the groups of output channels from the first to the one before the last of `groups`."""
        number, values, products = block
        first, size = number * plan.block_tiles, itemsize(weights.dtype)
        tiles = min(plan.block_tiles, plan.tiles - first)
        plane_v, plane_u, plane_m = plan.plane_v * size, plan.plane_u * size, plan.plane_m * itemsize(dt)
        for group in range(groups[0], groups[1]):
            place = address(weights) + group * PLANES * plane_u
            for plane in range(PLANES):
                factors = PlaneFactors(
                    *(values + plane * plane_v, place + plane * plane_u, products + plane * plane_m),
                    values + PLANES * plane_v,
                )
                ahead = multiply(factors, tiles, ahead, plan, size, dt)
            row = vectors * VECTOR_BYTES
            together = _TURN_TILES if in_turns and vectors > 1 and plan.stream else tiles
            for t in range(0, tiles, together):
                some = min(together, tiles - t)
                for v in range(vectors):
                    channel = (group * vectors + v) * lanes(dt)
                    if channel < plan.out_channels:
                        source = products + t * row + v * VECTOR_BYTES
                        part = Products(source, row, number, first + t, some, channel, t == 0)
                        transform(part, epilogue, plan, dt)

    return convolve_groups


@device
def groups_of(plan, dt):
    """Return how many groups of output channels there are."""
    return (plan.out_channels + plan.vectors * lanes(dt) - 1) // (plan.vectors * lanes(dt))


def make_convolve_blocks(vectors, transform, read=transform_inputs, *, in_turns=False):
    """Make the loop over blocks whose tasks transform their own input.

    ``read(source, zeros, planes, first, tiles, plan, dt)`` does that.
    """
    convolve_groups = make_groups(vectors, transform, in_turns)
    fill_planes = make_fill_planes(read)

    @device
    def convolve_blocks(tasks, scratch, source, weights, epilogue, wanted, plan):
        """Compute the blocks from the first to the one before the last of `tasks`; `source` is what `read` takes."""
        dt, size = scratch.dtype, itemsize(weights.dtype)
        values = address(scratch)
        products = values + plan.block_v * size
        zeros = products + PLANES * plan.plane_m * itemsize(dt)
        groups = groups_of(plan, dt)
        clear_zeros(zeros, plan, dt)
        for block in range(tasks[0], tasks[1]):
            first = block * plan.block_tiles
            tiles = min(plan.block_tiles, plan.tiles - first)
            target = values, values + PLANES * plan.plane_v * size
            fill_planes(source, zeros, target, first, tiles, plan, size, dt)
            ahead = prefetches(wanted, block, groups, plan)
            convolve_groups(TileBlock(block, values, products), weights, epilogue, (0, groups), ahead, plan, dt)

    return convolve_blocks


@device
def place_of(array):
    """Address of an array, 0 of an empty one."""
    return address(array) if array.size else 0


def block_scratch(plan, workspace):
    """Return scratch for the tasks that transform their own input, a row for each thread."""
    planes = plan.block_v * (WORD_BYTES if plan.spare else 4) // 4
    products = 0 if (plan.tile_h, plan.tile_w) == WIDE else plan.planes * plan.plane_m
    return workspace.empty((get_num_threads(), round_to_lines(planes + products + zero_elements(plan))), np.float32)


def zero_elements(plan):
    """Elements of the buffer of zeros, and of the planes of a tile after it."""
    return round_to_lines(plan.patch_w * plan.in_channels + VECTOR_BYTES) + plan.planes * plan.spare
