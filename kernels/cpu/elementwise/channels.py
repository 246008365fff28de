"""Operations with a number for each channel: adding a bias, and the rectifier whose slope is learned (He et al. 2015).

x, out and grad are (rows, channels), the bias (channels,), the slope (channels,) or one for all. The gradient of the
slope is summed in parts of 256 rows, each in steps of four, and these in float64, as in reduce.py and with its bound.
Bound by memory.
"""

from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, store, store_ahead
from ..vector.simd import address, itemsize, lanes, vselect_gt, vsplat
from ..vector.sums import add_in_float64
from .maps import fill
from .reduce import sum_channels

_PART_ROWS = 256


@device
def _of_channels(values, c, count, dt):
    """Return the numbers of `count` channels from `c` on; of one number that in all lanes."""
    if values.size == 1:
        return vsplat(values[0], dt)
    return load(address(values) + c * itemsize(dt), count, dt)


@kernel
def add_bias_rows(begin, end, x, bias, out):
    """Some rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    rows, channels = x.shape
    for row in range(begin * _PART_ROWS, min(end * _PART_ROWS, rows)):
        for c in range(0, channels, lanes(dt)):
            count, place = min(lanes(dt), channels - c), (row * channels + c) * size
            value = load(address(x) + place, count, dt) + load(address(bias) + c * size, count, dt)
            store_ahead(address(out) + place, value, count, dt)


@kernel
def prelu_rows(begin, end, x, slope, out):
    """Some rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    rows, channels = x.shape
    for row in range(begin * _PART_ROWS, min(end * _PART_ROWS, rows)):
        for c in range(0, channels, lanes(dt)):
            count, place = min(lanes(dt), channels - c), (row * channels + c) * size
            value = load(address(x) + place, count, dt)
            below = value * _of_channels(slope, c, count, dt)
            store_ahead(address(out) + place, vselect_gt(value, vsplat(0, dt), value, below), count, dt)


@kernel
def prelu_gradient(begin, end, grad, x, slope, out, sums):
    """One part of the rows a task: the gradient of x, and what the rows give to that of the slope."""
    dt = x.dtype
    size = itemsize(dt)
    rows, channels = x.shape
    zero = vsplat(0, dt)
    for part in range(begin, end):
        first, stop = part * _PART_ROWS, min((part + 1) * _PART_ROWS, rows)
        target = address(sums) + part * channels * size
        for row in range(first, stop, 4):
            for c in range(0, channels, lanes(dt)):
                count, several = min(lanes(dt), channels - c), zero
                factor = _of_channels(slope, c, count, dt)
                for i in range(row, min(row + 4, stop)):
                    place = (i * channels + c) * size
                    g, value = load(address(grad) + place, count, dt), load(address(x) + place, count, dt)
                    store(address(out) + place, vselect_gt(value, zero, g, g * factor), count, dt)
                    several = several + vselect_gt(value, zero, zero, g * value)
                if row > first:
                    several = load(target + c * size, count, dt) + several
                store(target + c * size, several, count, dt)


def _parts(rows):
    return -(-len(rows) // _PART_ROWS)


def add_bias(x, bias, *, out):
    """Add the same number to all elements of a channel."""
    rows = x.reshape(-1, bias.size)
    launch(add_bias_rows, _parts(rows), rows, bias, out.reshape(rows.shape))


def prelu(x, slope, *, out):
    """Multiply what is not positive by the slope."""
    rows = x.reshape(-1, x.shape[-1])
    launch(prelu_rows, _parts(rows), rows, slope, out.reshape(rows.shape))


def prelu_backward(grad_output, x, slope, *, out, grad_slope, workspace):
    """Gradients of `prelu`; of one slope for all the sums of the channels are added at last."""
    channels = x.shape[-1]
    rows = x.reshape(-1, channels)
    if not len(rows):
        fill(0, out=grad_slope)
        return
    sums = workspace.empty((_parts(rows), channels), x.dtype)
    launch(prelu_gradient, _parts(rows), grad_output.reshape(rows.shape), rows, slope, out.reshape(rows.shape), sums)
    each = grad_slope if slope.size == channels else workspace.empty((channels,), x.dtype)
    add_in_float64(sums, each, workspace)
    if each is not grad_slope:
        sum_channels(each.reshape(-1, 1), out=grad_slope, workspace=workspace)
