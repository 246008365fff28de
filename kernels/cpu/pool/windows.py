"""Which windows of a pooling cover a cell, and which cells a window covers.

Along one axis, window p covers the cells ``p * stride - low + k * dilation`` for k below the kernel size; those inside
are a range of k. The other way round a cell has a list of windows, which kernels make for each row, and once for each
column, so that no division is left in the loops over pixels.
"""

import functools
from typing import NamedTuple

import numpy as np

from ..runtime.launch import device, thread_rows
from ..vector.simd import load_word, store_word


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


@functools.lru_cache(maxsize=1024)
def pool_plan(in_shape, out_shape, windows):
    """Return the plan of these shapes."""
    batch, in_h, in_w, channels = in_shape
    rows, columns = windows.padding
    sizes = (*windows.kernel_size, *windows.stride, *rows, *columns, *windows.dilation)
    return PoolPlan(batch, in_h, in_w, *out_shape[1:3], channels, *sizes)


@device
def inside(window, kernel, stride, low, dilation, size):
    """Return (first cell, first k, end of k) of a window; only the k in between lie inside."""
    start = window * stride - low
    first = 0 if start >= 0 else (dilation - 1 - start) // dilation
    last = start + (kernel - 1) * dilation
    end = kernel if last < size else (size - start + dilation - 1) // dilation
    return start, first, max(end, first)


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


def suits_pool(x_shape, out_shape, windows):
    """Tell whether a pooling is the one that the 2x2 kernels know: windows next to each other, all inside."""
    inside = out_shape[1] * 2 <= x_shape[1] and out_shape[2] * 2 <= x_shape[2]
    squares = windows.kernel_size == windows.stride == (2, 2) and windows.dilation == (1, 1)
    return squares and not any(map(any, windows.padding)) and inside


def window_scratch(plan):
    """Return scratch for lists of windows: of a row, of each column, and of a cell; a row for each thread."""
    cells = plan.kernel_h * plan.kernel_w + plan.kernel_h + plan.kernel_w
    bytes_each = 16 * cells + (16 * plan.kernel_w + 8) * plan.in_w
    return thread_rows(bytes_each, np.uint8)
