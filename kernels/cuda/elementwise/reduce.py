"""Sums over all axes but the last: the gradient of a bias."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import channel_block, channel_chunks, typed
from .elementwise import fill

LINE_ROWS = 32  # rows that one thread sums


def sum_rows(device, x, *, out, workspace):
    """Sum rows as long as `out`, in parts whose number depends on the shape."""
    if not x.size:
        fill(device, 0, out=out)
        return
    channels, rows = out.size, x.size // out.size
    columns, lines = channel_block(channels, x.dtype)
    chunks = channel_chunks(channels, x.dtype)
    part_rows = LINE_ROWS * lines
    kernel = typed("reduce.cu", "sum_rows", x.dtype)
    while True:
        parts = -(-rows // part_rows)
        sums = out if parts == 1 else workspace.empty((parts, channels), x.dtype)
        arguments = (x, sums, np.int64(rows), np.int32(channels), np.int32(part_rows))
        device.launch(kernel, (parts, chunks, 1), (columns, lines, 1), arguments)
        if parts == 1:
            return
        x, rows = sums, parts
