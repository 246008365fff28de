"""Sums over all axes but the last: the gradient of a bias.

The rows are cut into parts by shape; a part is summed block by block of rows, so that the block stays in the L1 cache
while the vectors of channels take their turns; the parts are added in order. Bound by memory: one read.
"""

from .conv2d_weight import sum_in_order
from .launch import kernel, launch
from .simd import address, itemsize, lanes, vload_part, vsplat, vstore_part

_PART_ROWS = 1024
_BLOCK_BYTES = 16 * 1024


@kernel
def sum_rows(begin, end, x, sums):
    """One part of the rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = max(1, _BLOCK_BYTES // (channels * size))
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        target = address(sums) + part * channels * size
        for row in range(part * _PART_ROWS, stop, block_rows):
            for c in range(0, channels, width):
                count = min(width, channels - c)
                total = vsplat(0, dt)
                if row > part * _PART_ROWS:
                    total = vload_part(target + c * size, count, dt)
                for i in range(row, min(row + block_rows, stop)):
                    total = total + vload_part(address(x) + (i * channels + c) * size, count, dt)
                vstore_part(target + c * size, total, count)


def conv2d_backward_bias(grad_output, *, out, workspace):
    """Sum of each channel."""
    rows = grad_output.reshape(-1, out.size)
    parts = -(-len(rows) // _PART_ROWS)
    if not parts:
        out.fill(0)
        return
    sums = workspace.empty((parts, out.size), out.dtype)
    launch(sum_rows, parts, rows, sums)
    sum_in_order(sums, out)
