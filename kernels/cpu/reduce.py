"""Sums over all axes but the last: the gradient of a bias.

The rows are cut into parts by shape; a part is summed block by block of rows, so that the block stays in the L1 cache
while the vectors of channels take their turns; the parts are added in order. Bound by memory: one read.
"""

from .conv2d_weight import sum_in_order
from .elementwise import fill, load, store
from .launch import device, kernel, launch
from .simd import address, itemsize, lanes, vselect_not_le, vsplat

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
                    total = load(target + c * size, count, dt)
                for i in range(row, min(row + block_rows, stop)):
                    total = total + load(address(x) + (i * channels + c) * size, count, dt)
                store(target + c * size, total, count, dt)


@device
def _rectified_part(grad, y, out, place, total, rows, row_bytes, count, dt):
    """Pass the gradient of some rows where y > 0 and add it to the sums at `total`."""
    zero = vsplat(0, dt)
    there = load(total, count, dt)
    for i in range(rows):
        at = place + i * row_bytes
        g = vselect_not_le(load(y + at, count, dt), zero, load(grad + at, count, dt), zero)
        store(out + at, g, count, dt)
        there = there + g
    store(total, there, count, dt)


@kernel
def relu_gradient_bias(begin, end, grad, y, out, sums):
    """The gradient behind a rectifier, and its sum over one part of the rows, a task."""
    dt = grad.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = grad.shape
    row_bytes = channels * size
    whole = channels // width * width
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        target = address(sums) + part * row_bytes
        for c in range(0, channels, width):
            store(target + c * size, vsplat(0, dt), min(width, channels - c), dt)
        for i in range(part * _PART_ROWS, stop, 4):
            place, several = i * row_bytes, min(4, stop - i)
            for c in range(0, whole, width):
                _rectified_part(
                    *(address(grad), address(y), address(out), place + c * size, target + c * size),
                    *(several, row_bytes, width, dt),
                )
            if whole < channels:
                _rectified_part(
                    *(address(grad), address(y), address(out), place + whole * size, target + whole * size),
                    *(several, row_bytes, channels - whole, dt),
                )


def relu_backward_bias(grad_output, y, *, out, grad_bias, workspace):
    """Gradient behind a rectifier, and the sum of each channel."""
    grad = grad_output.reshape(-1, grad_bias.size)
    parts = -(-len(grad) // _PART_ROWS)
    if not parts:
        fill(0, out=grad_bias)
        return
    sums = workspace.empty((parts, grad_bias.size), out.dtype)
    launch(relu_gradient_bias, parts, grad, y.reshape(grad.shape), out.reshape(grad.shape), sums)
    sum_in_order(sums, grad_bias)


def conv2d_backward_bias(grad_output, *, out, workspace):
    """Sum of each channel."""
    rows = grad_output.reshape(-1, out.size)
    parts = -(-len(rows) // _PART_ROWS)
    if not parts:
        fill(0, out=out)
        return
    sums = workspace.empty((parts, out.size), out.dtype)
    launch(sum_rows, parts, rows, sums)
    sum_in_order(sums, out)
