"""Enlarging maps by repeating pixels, and its gradient, NHWC, vectors along the channels. Bound by memory.

x is (batch, h, w, channels), its result (batch, h * scale_h, w * scale_w, channels). The gradient adds each block of
pixels with the bound of avg_pool.py.
"""

from ..runtime.launch import kernel, launch
from ..vector.memory import load, store, store_ahead
from ..vector.simd import address, itemsize, lanes
from .avg_pool import sum_of_window


@kernel
def upsample_rows(begin, end, x, out, scale_h, scale_w):
    """One row of output pixels a task."""
    dt = x.dtype
    size = itemsize(dt)
    _, _, in_w, channels = x.shape
    out_w = out.shape[2]
    pixel_bytes = channels * size
    for row in range(begin, end):
        source, target = address(x) + row // scale_h * in_w * pixel_bytes, address(out) + row * out_w * pixel_bytes
        for w in range(in_w):
            for c in range(0, channels, lanes(dt)):
                count = min(lanes(dt), channels - c)
                value = load(source + w * pixel_bytes + c * size, count, dt)
                for i in range(scale_w):
                    store_ahead(target + (w * scale_w + i) * pixel_bytes + c * size, value, count, dt)


@kernel
def upsample_gradient(begin, end, grad, out, scale_h, scale_w):
    """One row of input pixels a task."""
    dt = grad.dtype
    size = itemsize(dt)
    _, _, in_w, channels = out.shape
    pixel_bytes = channels * size
    row_bytes = grad.shape[2] * pixel_bytes
    for row in range(begin, end):
        for w in range(in_w):
            source = address(grad) + row * scale_h * row_bytes + w * scale_w * pixel_bytes
            for c in range(0, channels, lanes(dt)):
                count = min(lanes(dt), channels - c)
                total = sum_of_window(source + c * size, scale_h, scale_w, row_bytes, pixel_bytes, count, dt)
                store(address(out) + ((row * in_w + w) * channels + c) * size, total, count, dt)


def upsample2d(x, *, scale, out):
    """Repeat each pixel."""
    launch(upsample_rows, out.shape[0] * out.shape[1], x, out, *scale)


def upsample2d_backward(grad_output, *, scale, out):
    """Gradient of `upsample2d`."""
    launch(upsample_gradient, out.shape[0] * out.shape[1], grad_output, out, *scale)
