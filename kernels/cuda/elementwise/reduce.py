"""Sums over all axes but the last: the gradient of a bias, alone or with that of the activation after it."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import channel_block, channel_chunks, typed
from .elementwise import fill
from .pointwise import numbered

LINE_ROWS = 32  # rows that one thread sums


def sum_rows(device, x, *, out, workspace):
    """Sum rows as long as `out`, in parts whose number depends on the shape."""
    sum_by_parts(device, typed("reduce.cu", "sum_rows", x.dtype), (x,), (), out, workspace)


def activate_backward_bias(device, activation, grad_output, saved, *, out, grad_bias, workspace):
    """Gradient of an activation, and its sum over rows: the first pass of `sum_rows` writes it too."""
    kernel = typed("activate_sums.cu", "activate_gradient_sum_rows", out.dtype)
    sum_by_parts(device, kernel, (grad_output, saved, out), numbered(activation, out.dtype), grad_bias, workspace)


def sum_by_parts(device, kernel, arrays, more, out, workspace):
    """Launch ``kernel(*arrays, sums, sizes, *more)``, then `sum_rows` of the sums until one row is left."""
    x = arrays[0]
    if not x.size:
        fill(device, 0, out=out)
        return
    channels, rows = out.size, x.size // out.size
    columns, lines = channel_block(channels, x.dtype)
    chunks = channel_chunks(channels, x.dtype)
    part_rows = LINE_ROWS * lines
    while True:
        parts = -(-rows // part_rows)
        sums = out if parts == 1 else workspace.empty((parts, channels), x.dtype)
        sizes = (np.int64(rows), np.int32(channels), np.int32(part_rows))
        device.launch(kernel, (parts, chunks, 1), (columns, lines, 1), (*arrays, sums, *sizes, *more))
        if parts == 1:
            return
        kernel, arrays, more, rows = typed("reduce.cu", "sum_rows", x.dtype), (sums,), (), parts
