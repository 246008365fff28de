"""Copies between activations: joining and cutting channels, the shortcut of ResNets. Bound by memory.

Arrays are (pixels, channels) where channels are joined or cut, (batch, h, w, channels) in the shortcut. That takes
every stride-th pixel, with `before` channels of zeros before those of x and as many after them as are left.
"""

from ..runtime.launch import kernel, launch
from ..vector.memory import clear_elements, copy_elements
from ..vector.simd import address, itemsize

_ROWS = 256  # pixels a task


@kernel
def copy_channels(begin, end, x, first_x, out, first_out, channels):
    """Some pixels a task: `channels` from channel `first_x` of x to channel `first_out` of out."""
    dt = x.dtype
    size = itemsize(dt)
    for row in range(begin * _ROWS, min(end * _ROWS, x.shape[0])):
        source = address(x) + (row * x.shape[1] + first_x) * size
        copy_elements(address(out) + (row * out.shape[1] + first_out) * size, source, channels, dt)


@kernel
def subsample(begin, end, x, out, stride_h, stride_w, before):
    """One row of output pixels a task."""
    dt = x.dtype
    size = itemsize(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, outs = out.shape
    for row in range(begin, end):
        image, p = row // out_h, row % out_h
        for q in range(out_w):
            target = address(out) + (row * out_w + q) * outs * size
            source = address(x) + ((image * in_h + p * stride_h) * in_w + q * stride_w) * channels * size
            clear_elements(target, before, dt)
            copy_elements(target + before * size, source, channels, dt)
            clear_elements(target + (before + channels) * size, outs - before - channels, dt)


@kernel
def spread(begin, end, grad, out, stride_h, stride_w, before):
    """One row of input pixels a task."""
    dt = out.dtype
    size = itemsize(dt)
    _, grad_h, grad_w, outs = grad.shape
    _, height, width, channels = out.shape
    for row in range(begin, end):
        image, h = row // height, row % height
        for w in range(width):
            target = address(out) + (row * width + w) * channels * size
            if h % stride_h or w % stride_w:
                clear_elements(target, channels, dt)
            else:
                pixel = (image * grad_h + h // stride_h) * grad_w + w // stride_w
                copy_elements(target, address(grad) + (pixel * outs + before) * size, channels, dt)


def _copy_parts(arrays, whole, into_whole):
    first = 0
    rows = whole.reshape(-1, whole.shape[-1])
    for array in arrays:
        channels = array.shape[-1]
        part = array.reshape(-1, channels)
        tasks = -(-len(rows) // _ROWS)
        if into_whole:
            launch(copy_channels, tasks, part, 0, rows, first, channels)
        else:
            launch(copy_channels, tasks, rows, first, part, 0, channels)
        first += channels


def concatenate(arrays, *, out):
    """Join along the last axis."""
    _copy_parts(arrays, out, into_whole=True)


def split(x, *, outs):
    """Cut the last axis."""
    _copy_parts(outs, x, into_whole=False)


def subsample_pad(x, *, stride, before, out):
    """Every stride-th pixel, channels of zeros around."""
    launch(subsample, out.shape[0] * out.shape[1], x, out, *stride, before)


def subsample_pad_backward(grad_output, *, stride, before, out):
    """Gradient of `subsample_pad`."""
    launch(spread, out.shape[0] * out.shape[1], grad_output, out, *stride, before)
