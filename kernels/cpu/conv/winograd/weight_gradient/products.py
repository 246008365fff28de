"""The products of Winograd's gradient of the weight: of every plane, (input channel) x (output channel) over tiles.

Planes of a block of tiles are [plane][tile][input channel] and [plane][group of output channels][tile][channel of the
group], sums [plane][input channel][output channel]. In fixed point a pair of tiles takes the place of one, and the
steps of each channel lie after its last pair; see fixed_point.py.
"""

from typing import NamedTuple

from ....runtime.cpu_caches import CACHES
from ....runtime.launch import device
from ....vector.fixed_point import tile_add_floats, tile_dot_words, tile_store_floats
from ....vector.prefetch import ask_for_lines, ask_to_write
from ....vector.simd import VECTOR_BYTES, itemsize, lanes
from ....vector.tile import row_steps, tile_load, tile_multiply_add, tile_store, tile_zero
from ..transforms import PLANES
from .plan import TILES

_NEAR_SUM_BYTES = CACHES.level2 // 2


class BlockFactors(NamedTuple):
    """A block of tiles, transformed: addresses of its planes, of the input and of the gradient, and of the sums."""

    values: int
    gradients: int
    sums: int
    tiles: int
    channels_in: int


@device
def _steps_a_row(steps, rows, sum_bytes):
    """How many steps of a product to do for each row of sums that is asked for; all of them if the sums are near.

    Sums beyond the L2 cache are asked for while the register tile before them is computed (gradient of a 3x3 weight,
    256 to 256 channels at 8x8 on Zen 5: 8.9 to 7.4 ms).
    """
    return max(steps // rows, 1) if sum_bytes > _NEAR_SUM_BYTES else max(steps, 1)


@device
def _next_sums(target, c, channels, tile_rows, group_bytes, row_bytes):
    """Where the sums of the next register tile begin: of the next input channels, else of the next output channels."""
    return target + (c + tile_rows) * row_bytes if c + tile_rows < channels else target + group_bytes


def make_multiply(tile_rows, vectors, *, fixed):
    """Make the product of all planes of a block for one register tile.

    In fixed point sums are asked for ahead by the first of the register tiles alone: with both loops that of 11x2 takes
    a fifth longer (128x16x16x32 on Zen 5).
    """
    multiply_add = tile_dot_words if fixed else tile_multiply_add
    may_ask = (tile_rows, vectors) == TILES[0] if fixed else vectors > 1

    @device
    def multiply_planes(factors, first, ahead, plan, dt):
        """Add the products of a block of tiles to the sums of every plane; the first block starts from zero."""
        values, gradients, sums, tiles, channels_in = factors
        size = itemsize(dt)
        source_ahead, lines, grad_ahead, grad_lines = ahead
        group = vectors * lanes(dt)
        steps = (tiles + 1) // 2 if fixed else tiles
        row_v, row_sum = plan.row_v * size, plan.padded_out * size
        plane_sums = plan.in_blocks * plan.rows * row_sum
        share = _steps_a_row(steps, tile_rows, PLANES * plane_sums) * row_v
        for plane in range(PLANES):
            source = values + plane * plan.plane_v * size
            for k in range(0, plan.block_out, group):
                column = gradients + (plane * plan.plane_g + k * plan.block_tiles) * size
                target = sums + plane * plane_sums + k * size
                for c in range(0, channels_in, tile_rows):
                    source_ahead = ask_for_lines(source_ahead, lines)
                    grad_ahead = ask_for_lines(grad_ahead, grad_lines)
                    targets = row_steps(tile_rows, target + c * row_sum, row_sum)
                    acc = tile_zero(tile_rows, vectors, dt)
                    if not (fixed or first):
                        acc = tile_load(acc, targets)
                    rows = row_steps(tile_rows, source + c * size, size)  # a pair of words is as long as a float32
                    place = column
                    if may_ask and share < steps * row_v:
                        ahead_sums = _next_sums(target, c, channels_in, tile_rows, group * size, row_sum)
                        for begin in range(0, steps * row_v, share):
                            ask_to_write(ahead_sums, vectors * VECTOR_BYTES)
                            ahead_sums += row_sum
                            for shift in range(begin, min(begin + share, steps * row_v), row_v):
                                acc = multiply_add(acc, rows, shift, place)
                                place += vectors * VECTOR_BYTES
                    else:  # by itself: two loops, one within the other, take up to a tenth longer where steps are few
                        for shift in range(0, steps * row_v, row_v):
                            acc = multiply_add(acc, rows, shift, place)
                            place += vectors * VECTOR_BYTES
                    if not fixed:
                        tile_store(acc, targets)
                    elif first:
                        tile_store_floats(acc, targets, source + steps * row_v + c * size, size, place)
                    else:
                        tile_add_floats(acc, targets, source + steps * row_v + c * size, size, place)

    return multiply_planes
