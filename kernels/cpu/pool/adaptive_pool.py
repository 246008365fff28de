"""Average pooling to a given size and its gradient, NHWC, vectors along the channels; built like avg_pool.py.

Window p of P over an axis of H cells goes from ``floor(p * H / P)`` to ``ceil((p + 1) * H / P)``, and a cell h is
in the windows from ``floor(h * P / H)`` to ``ceil((h + 1) * P / H)``: neighbouring ones may share cells. Sums of
windows have the bound of avg_pool.py. Bound by memory.
"""

from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vsplat
from .avg_pool import sum_of_window


@device
def _part(i, parts, size):
    """Return where part `i` of `parts` of an axis begins and ends."""
    return i * size // parts, ((i + 1) * size + parts - 1) // parts


@kernel
def adaptive_avg_pool2d_rows(begin, end, x, out):
    """One row of output pixels a task."""
    dt = x.dtype
    size = itemsize(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = out.shape
    pixel_bytes = channels * size
    for row in range(begin, end):
        image, p = row // out_h, row % out_h
        h0, h1 = _part(p, out_h, in_h)
        for q in range(out_w):
            w0, w1 = _part(q, out_w, in_w)
            source = address(x) + ((image * in_h + h0) * in_w + w0) * pixel_bytes
            cells = vsplat((h1 - h0) * (w1 - w0), dt)
            for c in range(0, channels, lanes(dt)):
                count = min(lanes(dt), channels - c)
                sides = h1 - h0, w1 - w0
                total = sum_of_window(source + c * size, sides[0], sides[1], in_w * pixel_bytes, pixel_bytes, count, dt)
                store(address(out) + ((row * out_w + q) * channels + c) * size, total / cells, count, dt)


@device
def _add_share(target, source, cells, channels, first, dt):
    """Add a window's value, divided by its cells, to a pixel; write it if it is the first."""
    size, divisor = itemsize(dt), vsplat(cells, dt)
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        share = load(source + c * size, count, dt) / divisor
        if not first:
            share = load(target + c * size, count, dt) + share
        store(target + c * size, share, count, dt)


@kernel
def adaptive_avg_pool2d_gradient(begin, end, grad, out):
    """One row of input pixels a task: the shares of all windows that a pixel is in, in order."""
    dt = grad.dtype
    _, in_h, in_w, channels = out.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * itemsize(dt)
    for row in range(begin, end):
        image, h = row // in_h, row % in_h
        p0, p1 = _part(h, in_h, out_h)
        for w in range(in_w):
            q0, q1 = _part(w, in_w, out_w)
            target = address(out) + (row * in_w + w) * pixel_bytes
            for p in range(p0, p1):
                h0, h1 = _part(p, out_h, in_h)
                for q in range(q0, q1):
                    w0, w1 = _part(q, out_w, in_w)
                    source = address(grad) + ((image * out_h + p) * out_w + q) * pixel_bytes
                    _add_share(target, source, (h1 - h0) * (w1 - w0), channels, p == p0 and q == q0, dt)


def adaptive_avg_pool2d(x, *, out):
    """Mean of each of the parts that `out` cuts the map into."""
    launch(adaptive_avg_pool2d_rows, out.shape[0] * out.shape[1], x, out)


def adaptive_avg_pool2d_backward(grad_output, *, out):
    """Gradient of `adaptive_avg_pool2d`."""
    launch(adaptive_avg_pool2d_gradient, out.shape[0] * out.shape[1], grad_output, out)
