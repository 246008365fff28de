"""Average pooling and its gradient: a thread keeps its channels and walks over pixels."""

from __future__ import annotations

from ..runtime.grids import launch_over_rows, typed


def avg_pool2d(device, x, *, windows, out):
    """Mean of each window."""
    axes = _axes(x.shape, out.shape, windows)
    kernel = typed("avg_pool.cu", "avg_pool2d_pixels", x.dtype)
    launch_over_rows(device, kernel, (x, out), out.shape, out.shape[3], *axes)


def avg_pool2d_backward(device, grad_output, *, windows, out):
    """Gradient of `avg_pool2d`."""
    axes = _axes(out.shape, grad_output.shape, windows)
    kernel = typed("avg_pool.cu", "avg_pool2d_backward_pixels", out.dtype)
    launch_over_rows(device, kernel, (grad_output, out), out.shape, out.shape[3], *axes)


def _axes(in_shape, out_shape, windows):
    """Arguments of the two axes: sizes, window, stride, padding, and how much of the padding counts."""
    axes = zip(in_shape[1:3], out_shape[1:3], windows.kernel_size, windows.stride, windows.padding, strict=True)
    counted = windows.count_include_pad
    return [
        value
        for size, count, kernel, step, (low, high) in axes
        for value in (size, count, kernel, step, low, low * counted, high * counted)
    ]
