"""Max pooling and its gradient: a thread keeps its channels and walks over pixels."""

from __future__ import annotations

from ..runtime.grids import launch_over_rows, typed

_WINDOWS = (2, 3)  # square windows compiled for themselves


def window_variant(kernel_size, dilation):
    """Return the WINDOW of this geometry: its size if it has kernels of its own, else 0."""
    known = kernel_size[0] == kernel_size[1] and kernel_size[0] in _WINDOWS and tuple(dilation) == (1, 1)
    return kernel_size[0] if known else 0


def max_pool2d(device, x, *, windows, out, argmax):
    """Largest value of each window, and its place."""
    _launch(device, "max_pool2d_pixels", (x, out, argmax), argmax, x.shape, out.shape, out.shape, windows)


def max_pool2d_backward(device, grad_output, argmax, *, windows, out):
    """Gradient of `max_pool2d`."""
    arrays, shapes = (grad_output, argmax, out), (out.shape, grad_output.shape, out.shape)
    _launch(device, "max_pool2d_backward_pixels", arrays, argmax, *shapes, windows)


def _launch(device, name, arrays, argmax, in_shape, out_shape, walked, windows):
    variant = window_variant(windows.kernel_size, windows.dilation)
    defines = (("PLACE_BYTES", argmax.dtype.itemsize), ("WINDOW", variant))
    (top, _), (left, _) = windows.padding
    geometry = (*windows.kernel_size, *windows.stride, top, left, *windows.dilation)
    kernel = typed("max_pool.cu", name, arrays[0].dtype, *defines)
    launch_over_rows(device, kernel, arrays, walked, *in_shape[1:3], *out_shape[1:3], in_shape[3], *geometry)
