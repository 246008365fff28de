"""Average pooling to a given size and its gradient: a thread keeps its channels and walks over pixels."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import rows_of_channels, typed


def adaptive_avg_pool2d(device, x, *, out):
    """Mean of each of the parts that `out` cuts the map into."""
    _launch(device, "adaptive_avg_pool2d_pixels", x, out, x.shape, out.shape)


def adaptive_avg_pool2d_backward(device, grad_output, *, out):
    """Gradient of `adaptive_avg_pool2d`."""
    _launch(device, "adaptive_avg_pool2d_backward_pixels", grad_output, out, out.shape, grad_output.shape)


def _launch(device, name, source, out, in_shape, out_shape):
    if out.size:
        channels = out.shape[3]
        pixels = out.size // channels
        grid, block = rows_of_channels(device, pixels, channels, out.dtype)
        sizes = map(np.int32, (*in_shape[1:3], *out_shape[1:3], channels))
        arguments = (source, out, np.int64(pixels), *sizes)
        device.launch(typed("adaptive_pool.cu", name, out.dtype), grid, block, arguments)
