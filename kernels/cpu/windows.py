"""Which windows of a pooling cover a cell, and which cells a window covers: tables that the kernels make for each row.

Along one axis, window p covers the cells ``p * stride - low + k * dilation`` for k below the kernel size. A kernel lists for each
row, and once for each column, the pairs that stay inside, so that no division is left in the loops over pixels.
"""

from typing import NamedTuple

from .launch import device
from .simd import load_word, store_word


class PoolPlan(NamedTuple):
    """Geometry of a pooling; `in_...` is the unpooled side."""

    batch: int
    in_h: int
    in_w: int
    out_h: int
    out_w: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    top: int
    bottom: int
    left: int
    right: int
    dilation_h: int
    dilation_w: int


def pool_plan(in_shape, out_shape, kernel_size, stride, padding, dilation=(1, 1)):
    """Return the plan of these shapes."""
    batch, in_h, in_w, channels = in_shape
    return PoolPlan(batch, in_h, in_w, *out_shape[1:3], channels, *kernel_size, *stride, *padding[0], *padding[1], *dilation)


@device
def list_cells(table, window, kernel, stride, low, dilation, size):
    """Write the pairs (cell, k) of a window that stay inside; return how many."""
    count = 0
    for k in range(kernel):
        cell = window * stride - low + k * dilation
        if 0 <= cell < size:
            store_word(table + 16 * count, cell)
            store_word(table + 16 * count + 8, k)
            count += 1
    return count


@device
def list_windows(table, cell, kernel, stride, low, dilation, windows):
    """Write the pairs (window, k) that cover a cell, windows ascending; return how many."""
    count = 0
    for back in range(kernel):
        k = kernel - 1 - back
        start = cell + low - k * dilation
        if start >= 0 and start % stride == 0 and start // stride < windows:
            store_word(table + 16 * count, start // stride)
            store_word(table + 16 * count + 8, k)
            count += 1
    return count


@device
def first_of(table, i):
    """First word of pair i."""
    return load_word(table + 16 * i)


@device
def second_of(table, i):
    """Second word of pair i."""
    return load_word(table + 16 * i + 8)
