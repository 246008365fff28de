"""Average pooling and its gradient: a thread keeps its channels and walks over pixels."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import rows_of_channels, typed


def avg_pool2d(device, x, *, windows, out):
    """Mean of each window."""
    axes = _axes(x.shape, out.shape, windows)
    _launch(device, "avg_pool2d_pixels", x, out, axes)


def avg_pool2d_backward(device, grad_output, *, windows, out):
    """Gradient of `avg_pool2d`."""
    axes = _axes(out.shape, grad_output.shape, windows)
    _launch(device, "avg_pool2d_backward_pixels", grad_output, out, axes)


def _axes(in_shape, out_shape, windows):
    """Arguments of the two axes: sizes, window, stride, padding, and how much of the padding counts."""
    axes = zip(in_shape[1:3], out_shape[1:3], windows.kernel_size, windows.stride, windows.padding, strict=True)
    counted = windows.count_include_pad
    return [
        value
        for size, count, kernel, step, (low, high) in axes
        for value in (size, count, kernel, step, low, low * counted, high * counted)
    ]


def _launch(device, name, source, out, axes):
    """One thread for some channels of each pixel of `out`."""
    if out.size:
        channels = out.shape[3]
        pixels = out.size // channels
        grid, block = rows_of_channels(device, pixels, channels, out.dtype)
        arguments = (source, out, np.int64(pixels), np.int32(channels), *map(np.int32, axes))
        device.launch(typed("avg_pool.cu", name, out.dtype), grid, block, arguments)
