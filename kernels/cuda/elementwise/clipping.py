"""Limits of gradients: of each element, or of their norm; bound by memory."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import THREADS, flat, typed

_CHUNK = 16384  # elements of a block, as clipping.cu has it


def clip(device, x, *, limit, out):
    """Each element within the limit."""
    if x.size:
        kernel = typed("clipping.cu", "clip_array", x.dtype)
        device.launch(kernel, *flat(device, x.size, x.dtype), (x, out, np.int64(x.size), x.dtype.type(limit)))


def sum_squares(device, x, *, out, workspace):
    """Sum of the squares of all elements."""
    blocks = -(-x.size // _CHUNK)
    sums = workspace.empty((max(blocks, 1),), np.float64)
    if blocks:
        kernel = typed("clipping.cu", "sum_square_parts", x.dtype)
        device.launch(kernel, (blocks, 1, 1), (THREADS, 1, 1), (x, sums, np.int64(x.size)))
    kernel = typed("clipping.cu", "add_square_parts", x.dtype)
    device.launch(kernel, (1, 1, 1), (THREADS, 1, 1), (sums, out, np.int64(blocks)))


def clip_norm(device, x, squares, *, limit, out):
    """All elements by the one factor that brings the norm within the limit."""
    if x.size:
        kernel = typed("clipping.cu", "scale_to_norm", x.dtype)
        arguments = (x, squares, out, np.int64(x.size), np.int32(squares.size), np.float64(limit))
        device.launch(kernel, *flat(device, x.size, x.dtype), arguments)
