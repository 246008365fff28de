"""Sums over all axes but the last: the gradient of a bias.

x, y and grad are (rows, channels), sums of the parts (parts, channels).

The rows are cut into parts by shape. A part, 256 rows, is summed block by block of rows, so that the block stays in the
L1 cache while the vectors of channels take their turns, and a block in four sums side by side; the parts are added in
order in float64, with compensation where the array's type is that. So no sum is longer than 66 additions in the array's
own type, however many rows there are:

    |error| <= 68 u * sum |x|,    u = 2^-24 (float32) or 2^-53

Bound by memory: one read.
"""

from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vsplat
from ..vector.sums import add_in_float64
from .following import following, gradient_of
from .maps import fill

_PART_ROWS = 256
_BLOCK_BYTES = 16 * 1024
_LEAST_ROWS = 16  # of a block: with fewer, a part would be a long sum of blocks


@device
def sum_of_rows(source, rows, row_bytes, count, dt):
    """Sum of `count` elements at each of some places, in four sums side by side: less rounding and less waiting."""
    a, b, c, d = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    for i in range(0, rows - 3, 4):
        place = source + i * row_bytes
        a = a + load(place, count, dt)
        b = b + load(place + row_bytes, count, dt)
        c = c + load(place + 2 * row_bytes, count, dt)
        d = d + load(place + 3 * row_bytes, count, dt)
    for i in range(rows // 4 * 4, rows):
        a = a + load(source + i * row_bytes, count, dt)
    return (a + b) + (c + d)


@kernel
def sum_rows(begin, end, x, sums):
    """One part of the rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = min(max(_LEAST_ROWS, _BLOCK_BYTES // (channels * size)), _PART_ROWS)
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        target = address(sums) + part * channels * size
        for row in range(part * _PART_ROWS, stop, block_rows):
            several = min(block_rows, stop - row)
            for c in range(0, channels, width):
                count = min(width, channels - c)
                source = address(x) + (row * channels + c) * size
                total = sum_of_rows(source, several, channels * size, count, dt)
                if row > part * _PART_ROWS:
                    total = load(target + c * size, count, dt) + total
                store(target + c * size, total, count, dt)


@device
def _part_through(arrays, place, total, rows, row_bytes, part, dt):
    """The gradient of some rows through the activation, added to the sums at `total`; `arrays` are addresses."""
    (grad, saved, out), (count, follows) = arrays, part
    several = vsplat(0, dt)
    for i in range(rows):
        at = place + i * row_bytes
        g = gradient_of(load(grad + at, count, dt), load(saved + at, count, dt), follows, dt)
        store(out + at, g, count, dt)
        several = several + g
    store(total, load(total, count, dt) + several, count, dt)


@kernel
def activation_gradient_bias(begin, end, grad, saved, follows, out, sums):
    """The gradient through an activation, and its sum over one part of the rows, a task."""
    dt = grad.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = grad.shape
    row_bytes = channels * size
    whole = channels // width * width
    arrays = address(grad), address(saved), address(out)
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        target = address(sums) + part * row_bytes
        for c in range(0, channels, width):
            store(target + c * size, vsplat(0, dt), min(width, channels - c), dt)
        for i in range(part * _PART_ROWS, stop, 4):
            place, several = i * row_bytes, min(4, stop - i)
            for c in range(0, whole, width):
                _part_through(arrays, place + c * size, target + c * size, several, row_bytes, (width, follows), dt)
            if whole < channels:
                shift, rest = whole * size, (channels - whole, follows)
                _part_through(arrays, place + shift, target + shift, several, row_bytes, rest, dt)


def _sums(parts, out, workspace):
    """Return where the sums of the parts go: of one part they are the result."""
    return out.reshape(1, -1) if parts == 1 else workspace.empty((parts, out.size), out.dtype)


def activate_backward_bias(activation, grad_output, saved, *, out, grad_bias, workspace):
    """Gradient through an activation, and the sum of each channel."""
    grad = grad_output.reshape(-1, grad_bias.size)
    parts = -(-len(grad) // _PART_ROWS)
    if not parts:
        fill(0, out=grad_bias)
        return
    sums = _sums(parts, grad_bias, workspace)
    arguments = (grad, saved.reshape(grad.shape), following(activation), out.reshape(grad.shape), sums)
    launch(activation_gradient_bias, parts, *arguments)
    if parts > 1:
        add_in_float64(sums, grad_bias, workspace)


def sum_channels(x, *, out, workspace):
    """Sum of each channel."""
    rows = x.reshape(-1, out.size)
    parts = -(-len(rows) // _PART_ROWS)
    if not parts:
        fill(0, out=out)
        return
    sums = _sums(parts, out, workspace)
    launch(sum_rows, parts, rows, sums)
    if parts > 1:
        add_in_float64(sums, out, workspace)
