"""What the register tiles of a Winograd convolution ask for, while they multiply, for the tiles of the next block."""

import numpy as np

from ...runtime.launch import device
from ...vector.prefetch import share_of_lines
from ...vector.simd import LINE_BYTES, address, itemsize
from ...vector.tile import ROWS
from .transforms import map_bytes

NOWHERE = np.int64(0)
NOTHING_BESIDE = NOWHERE, NOWHERE


@device
def beside(array):
    """Address and bytes of an element of an array that is read where the output is written; nothing of an empty one."""
    return (address(array), itemsize(array.dtype)) if array.size else (NOWHERE, NOWHERE)


@device
def _beside_block(array, block, register_tiles, elements, plan):
    """Where the part of an array begins that belongs to a block, and lines for a register tile; see `beside`."""
    tile = elements * array[1] // (plan.tiles_h * plan.tiles_w)
    return array[0] + block * plan.block_tiles * tile, share_of_lines(plan.block_tiles * tile, register_tiles)


@device
def look_ahead(x, out, others, block, groups, plan):
    """What the register tiles of a block ask for: place and bytes of the output, and what `take_turn` chooses from.

    That is the input that the block behind this one adds, and `others`: what `beside` gives of three arrays that are
    read where the output is written. `x` has a map of the plan's size, or a smaller one of the same place in the image.
    Output that goes past the caches is not asked for.
    """
    register_tiles = groups * plan.planes * ((plan.block_tiles + ROWS - 1) // ROWS)
    tile = map_bytes(x, x.shape[1], x.shape[2], plan.in_channels, plan)
    rows_there = plan.tile_h * x.shape[1] // plan.in_h * x.shape[2] * plan.in_channels * itemsize(x.dtype)
    source = address(x) + (block + 1) * plan.block_tiles * tile + rows_there
    elements = plan.out_h * plan.out_w * plan.out_channels
    written = address(out), NOWHERE if plan.stream else itemsize(out.dtype)
    target, target_lines = _beside_block(written, block, register_tiles, elements, plan)
    first, first_lines = _beside_block(others[0], block, register_tiles, elements, plan)
    second, second_lines = _beside_block(others[1], block, register_tiles, elements, plan)
    third, third_lines = _beside_block(others[2], block, register_tiles, elements, plan)
    source_lines = share_of_lines(plan.block_tiles * tile, register_tiles)
    turns = (source, first, second, third), (source_lines, first_lines, second_lines, third_lines), NOWHERE
    return target, target_lines * LINE_BYTES, turns
