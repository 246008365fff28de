"""Parts of the Winograd convolutions: a block of tiles is transformed, multiplied and handed on; see convolve.py."""

import numpy as np

from ...runtime.launch import device, get_num_threads
from ...vector.fixed_point import FIXED, WORD_BYTES
from ...vector.prefetch import AHEAD_BYTES, ask_at_once, ask_to_write, bytes_a_step, far_from_tile, take_turn
from ...vector.simd import LINE_BYTES, VECTOR_BYTES, address, itemsize, lanes, prefetch, prefetch_far, vsplat, vstore
from ...vector.tile import ROWS, row_steps, tile_multiply_add, tile_store, tile_zero
from .fixed_point import make_multiply_fixed, norm_of_planes, round_tile
from .plan import round_to_lines
from .prefetch import look_ahead
from .transforms import PLANES, WIDE, next_tile, patch_rows, prefetch_patch, transform_patch

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
        h, w = i * plan.tile_h - plan.pad_top, j * plan.tile_w - plan.pad_left
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
    return zeros + (plan.patch_w * plan.in_channels + VECTOR_BYTES) // 16 * LINE_BYTES


@device
def clear_zeros(zeros, plan, dt):
    """Clear the buffer that stands for rows outside the image, and the planes of one tile behind their channels."""
    end = spare_of(zeros, plan) + plan.planes * plan.spare * itemsize(dt) if plan.spare else zeros
    for place in range(zeros, max(end, zeros + plan.patch_w * plan.in_channels * itemsize(dt)), VECTOR_BYTES):
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
    def multiply(source, weights, target, steps, tiles, ahead, plan, size, dt):
        """The elements of the weight have `size` bytes; `steps` is where those of the tiles are if these are words."""
        if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
            if size == WORD_BYTES:
                return multiply_fixed(source, weights, target, steps, tiles, ahead, plan, dt)
        return multiply_floats(source, weights, target, tiles, ahead, plan, dt)

    return multiply


def make_groups(vectors, transform, in_turns, far=False):
    """Make the second half of a task: products and output transform, group by group of output channels.

    ``transform(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt)`` takes one vector of
    channels of some tiles of a block; `fresh` if they are its first ones. The vectors of a group may take turns every
    two tiles: lines beside each other, written one soon after the other, go past the caches twice as fast (back
    transform of 128x16x16x128 on Zen 5: 0.56 ms vector by vector, 0.31 in turns; every four tiles, 0.59). Planes that
    are `far`, in an array of their own, are asked for ahead.
    """
    multiply = _make_multiply(vectors, far)

    @device
    def convolve_groups(values, products, weights, finish, block, begin, end, ahead, plan, dt):
        first, size = block * plan.block_tiles, itemsize(weights.dtype)
        tiles = min(plan.block_tiles, plan.tiles - first)
        plane_v, plane_u, plane_m = plan.plane_v * size, plan.plane_u * size, plan.plane_m * itemsize(dt)
        for group in range(begin, end):
            place = address(weights) + group * PLANES * plane_u
            for plane in range(PLANES):
                ahead = multiply(
                    *(values + plane * plane_v, place + plane * plane_u, products + plane * plane_m),
                    *(values + PLANES * plane_v, tiles, ahead, plan, size, dt),
                )
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
        zeros = products + PLANES * plan.plane_m * itemsize(dt)
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
    """Elements of the buffer of zeros, and of the planes of a tile behind it."""
    return round_to_lines(plan.patch_w * plan.in_channels + VECTOR_BYTES) + plan.planes * plan.spare
