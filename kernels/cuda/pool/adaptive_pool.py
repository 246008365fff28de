"""Average pooling to a given size and its gradient: a thread keeps its channels and walks over pixels."""

from __future__ import annotations

from ..runtime.grids import launch_over_rows, typed


def adaptive_avg_pool2d(device, x, *, out):
    """Mean of each of the parts that `out` cuts the map into."""
    _launch(device, "adaptive_avg_pool2d_pixels", x, out, x.shape, out.shape)


def adaptive_avg_pool2d_backward(device, grad_output, *, out):
    """Gradient of `adaptive_avg_pool2d`."""
    _launch(device, "adaptive_avg_pool2d_backward_pixels", grad_output, out, out.shape, grad_output.shape)


def _launch(device, name, source, out, in_shape, out_shape):
    kernel, sizes = typed("adaptive_pool.cu", name, out.dtype), (*in_shape[1:3], *out_shape[1:3], out.shape[3])
    launch_over_rows(device, kernel, (source, out), out.shape, *sizes)
