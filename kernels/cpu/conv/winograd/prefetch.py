"""What the register tiles of a Winograd convolution ask for, while they multiply, for the tiles of the next block."""

from typing import NamedTuple

import numpy as np

from ...runtime.launch import device
from ...vector.prefetch import ask_for_lines, bytes_a_step, share_of_lines
from ...vector.simd import LINE_BYTES, address, itemsize
from ...vector.tile import ROWS
from .transforms import map_bytes

NOWHERE = np.int64(0)


class Part(NamedTuple):
    """An array that is read where the output is written: its address and the bytes of an element, 0 of none."""

    address: int
    size: int


NO_PART = Part(NOWHERE, NOWHERE)
_NO_TURNS = NOWHERE, NOWHERE, NOWHERE, NOWHERE
NO_PREFETCH = NOWHERE, NOWHERE, (_NO_TURNS, _NO_TURNS, NOWHERE)


class PrefetchTargets(NamedTuple):
    """What the next block will touch."""

    x: np.ndarray  # has a map of the plan's size, or a smaller one of the same place in the image
    out: np.ndarray
    parts: tuple  # three of `Part`


@device
def part_of(array):
    """Return the array as one that is read where the output is written; nothing of an empty one."""
    return Part(address(array), itemsize(array.dtype)) if array.size else Part(NOWHERE, NOWHERE)


@device
def _part_of_block(part, block, register_tiles, elements, plan):
    """Where the part of an array begins that belongs to a block, and lines for a register tile."""
    tile = elements * part.size // (plan.tiles_h * plan.tiles_w)
    return part.address + block * plan.block_tiles * tile, share_of_lines(plan.block_tiles * tile, register_tiles)


@device
def prefetches(wanted, block, groups, plan):
    """What the register tiles of a block ask for: place and bytes of the output, and what `take_turn` chooses from.

    That is the input that the next block adds, and the parts. Output that goes past the caches is not asked for.
    """
    x, out, parts = wanted
    register_tiles = groups * plan.planes * ((plan.block_tiles + ROWS - 1) // ROWS)
    tile = map_bytes(x, x.shape[1], x.shape[2], plan.in_channels, plan)
    row_of_tiles = plan.tile_h * x.shape[1] // plan.in_h * x.shape[2] * plan.in_channels * itemsize(x.dtype)
    source = address(x) + (block + 1) * plan.block_tiles * tile + row_of_tiles
    elements = plan.out_h * plan.out_w * plan.out_channels
    written = Part(address(out), NOWHERE if plan.stream else itemsize(out.dtype))
    target, target_lines = _part_of_block(written, block, register_tiles, elements, plan)
    first, first_lines = _part_of_block(parts[0], block, register_tiles, elements, plan)
    second, second_lines = _part_of_block(parts[1], block, register_tiles, elements, plan)
    third, third_lines = _part_of_block(parts[2], block, register_tiles, elements, plan)
    source_lines = share_of_lines(plan.block_tiles * tile, register_tiles)
    turns = (source, first, second, third), (source_lines, first_lines, second_lines, third_lines), NOWHERE
    return target, target_lines * LINE_BYTES, turns


@device
def take_turn(turns):
    """Choose the array of which a register tile asks for lines; return place, bytes and what is left.

    `turns` is (four places, how many lines of each to ask for a register tile, whose turn it is). A tile asks for as
    many lines as there are of all, but of one array; each has its turn in proportion. Of more lines than the tile has
    steps the last are not asked for.
    """
    places, lines, turn = turns
    first, second, last = lines[0], lines[0] + lines[1], lines[3]
    total = second + lines[2] + last
    nbytes = total * LINE_BYTES
    a, b, c, d = places
    if turn < first:
        place, a = a, a + nbytes
    elif turn < second:
        place, b = b, b + nbytes
    elif turn < total - last:
        place, c = c, c + nbytes
    else:
        place, d = d, d + nbytes
    turn = turn + 1 if turn + 1 < total else 0
    return place, nbytes, ((a, b, c, d), lines, turn)


@device
def ask_at_once(turns):
    """Ask for a register tile's lines of all arrays that `take_turn` chooses from; return what is left."""
    places, lines, turn = turns
    a, b = ask_for_lines(places[0], lines[0]), ask_for_lines(places[1], lines[1])
    c, d = ask_for_lines(places[2], lines[2]), ask_for_lines(places[3], lines[3])
    return (a, b, c, d), lines, turn


@device
def far_from_tile(source, weights, tile, tiles, row_bytes, plane_bytes, weight_bytes, steps):
    """What a register tile asks for at each of its steps, where planes are far.

    Returns where the rows of the next tile begin, or the next plane, and this tile's share of the next plane's weight,
    and the bytes a step of both.
    """
    next_rows = source + (tile + ROWS) * row_bytes if tile + ROWS < tiles else source + plane_bytes
    weight_step = bytes_a_step(weight_bytes, (tiles + ROWS - 1) // ROWS * steps)
    share = weights + weight_bytes + tile // ROWS * steps * weight_step
    return next_rows, bytes_a_step(ROWS * row_bytes, steps), share, weight_step
