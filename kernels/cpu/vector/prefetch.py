"""Asking for what the next block of work reads while this one is computed, so that memory works while the units do.

A strip that is filled from memory when its block begins waits for each row, in an order that the hardware does not
foresee where strides skip pixels. The lines of the next block are asked for while this one is computed, into the L2
cache: one at a step of the products, or in equal shares between them, which is the worse the larger they are, as a load
waits for them (on Zen 5: 3x3 with stride 2 in bfloat16, 128x32x32x16 to 32, shares, 1.4 to 1.0 ms; 1x1 in float32,
128x16x16x256 to 64, not asked for 2.7 ms, in shares 2.6, at each step 2.3).
"""

from ..runtime.launch import device
from .simd import LINE_BYTES, prefetch_far, prefetch_write

# How far ahead weights are asked for: a block of them comes from the L2 cache, and the hardware alone is late (a Xeon
# with AMX, 335 to 358 GFLOP/s for 3x3 with 128 channels).
AHEAD_BYTES = 1024


@device
def share_of_lines(nbytes, times):
    """How many lines to ask for at a time, to have `nbytes` after `times` of them."""
    return (nbytes // LINE_BYTES + times - 1) // times


@device
def ask_for_lines(place, lines):
    """Ask for some lines into the L2 cache; return the address after them."""
    for _ in range(lines):
        prefetch_far(place)
        place += LINE_BYTES
    return place


@device
def ask_to_write(place, nbytes):
    """Ask for lines that will be written; return the address after them."""
    for line in range(place, place + nbytes, LINE_BYTES):
        prefetch_write(line)
    return place + nbytes


@device
def bytes_a_step(nbytes, steps):
    """How far to move on at each of `steps` steps that ask for one line, to have `nbytes` then; a line at most."""
    return min((nbytes + steps - 1) // steps, LINE_BYTES)
