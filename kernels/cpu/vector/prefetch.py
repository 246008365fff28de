"""Asking for what the next block of work reads while this one is computed, so that memory works while the units do.

A strip that is filled from memory when its block begins waits for each row, in an order that the hardware does not
foresee where strides skip pixels. The lines of the next block are asked for while this one is computed, into the L2
cache: one at a step of the products, or in equal shares between them, which is the worse the larger they are, as a load
waits behind them (on Zen 5: 3x3 with stride 2 in bfloat16, 128x32x32x16 to 32, shares, 1.4 to 1.0 ms; 1x1 in float32,
128x16x16x256 to 64, not asked for 2.7 ms, in shares 2.6, at each step 2.3).
"""

from ..runtime.cpu_caches import CACHES
from ..runtime.launch import device
from .simd import LINE_BYTES, prefetch_far, prefetch_write
from .tile import ROWS

# How far ahead weights are asked for: a block of them comes from the L2 cache, and the hardware alone is late (a Xeon
# with AMX, 335 to 358 GFLOP/s for 3x3 with 128 channels).
AHEAD_BYTES = 1024
_NEAR_SUM_BYTES = CACHES.level2 // 2


@device
def share_of_lines(nbytes, times):
    """How many lines to ask for at a time, to have `nbytes` after `times` of them."""
    return (nbytes // LINE_BYTES + times - 1) // times


@device
def ask_for_lines(place, lines):
    """Ask for some lines into the L2 cache; return the address behind them."""
    for _ in range(lines):
        prefetch_far(place)
        place += LINE_BYTES
    return place


@device
def ask_to_write(place, nbytes):
    """Ask for lines that will be written; return the address behind them."""
    for line in range(place, place + nbytes, LINE_BYTES):
        prefetch_write(line)
    return place + nbytes


@device
def bytes_a_step(nbytes, steps):
    """How far to move on at each of `steps` steps that ask for one line, to have `nbytes` then; a line at most."""
    return min((nbytes + steps - 1) // steps, LINE_BYTES)


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
def next_rows(x, plan, block, size):
    """Where the rows of the input begin that the block of output pixels behind `block` adds, and their bytes.

    Nothing with groups: they read a part of each pixel.
    """
    row_bytes = plan.in_w * plan.in_channels * size
    image, band = (block + 1) // plan.bands * plan.block_images, (block + 1) % plan.bands
    rows = plan.block_images * plan.in_h if plan.bands == 1 else plan.block_rows * plan.stride_h
    start = x + (image * plan.in_h + band * plan.block_rows * plan.stride_h) * row_bytes
    return start, rows * row_bytes if plan.groups == 1 else 0


@device
def steps_a_row(steps, rows, sum_bytes):
    """How many steps of a product to do for each row of sums that is asked for; all of them if the sums are near.

    Sums beyond the L2 cache are asked for while the register tile before them is computed (gradient of a 3x3 weight,
    256 to 256 channels at 8x8 on Zen 5: 8.9 to 7.4 ms).
    """
    return max(steps // rows, 1) if sum_bytes > _NEAR_SUM_BYTES else max(steps, 1)


@device
def sums_behind(target, c, channels, tile_rows, group_bytes, row_bytes):
    """Where the sums of the next register tile begin: of the next input channels, else of the next output channels."""
    return target + (c + tile_rows) * row_bytes if c + tile_rows < channels else target + group_bytes


@device
def far_from_tile(source, weights, tile, tiles, row_bytes, plane_bytes, weight_bytes, steps):
    """What a register tile of Winograd's products asks for at each of its steps, where planes are far.

    Returns where the rows of the next tile begin, or the next plane, and this tile's share of the next plane's weight,
    and the bytes a step of both.
    """
    behind = source + (tile + ROWS) * row_bytes if tile + ROWS < tiles else source + plane_bytes
    weight_step = bytes_a_step(weight_bytes, (tiles + ROWS - 1) // ROWS * steps)
    share = weights + weight_bytes + tile // ROWS * steps * weight_step
    return behind, bytes_a_step(ROWS * row_bytes, steps), share, weight_step
