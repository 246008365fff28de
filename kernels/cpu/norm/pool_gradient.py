"""Gradients of a batch normalisation before an activation and a 2x2 max pooling: the two passes of its gradients.

Of a window one cell has the gradient, the others none, so the sums are those over pooled pixels, of x in the cell that
won; the second pass spreads the gradient as it goes. A pooled image is a part, so sums are in float64 every row of it.

grad, y and argmax are (batch, out_h, out_w, channels), x and out (batch, in_h, in_w, channels). Bound by memory.
"""

from ..runtime.launch import device, kernel
from ..vector.bf16_storage import load_stored, put_stored, stored_bytes
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vfma, vload_index, vselect_eq, vsplat
from .batch_norm_gradient import (
    Saved,
    applied,
    cached_sums,
    clear_sums,
    constants_at,
    flush_sums,
    rectified_gradient,
    room_after_sums,
    scaling_of,
    through_activation,
)


@device
def _cell_of(source, cell, row_bytes, pixel_bytes, count, stored, dt):
    """The value of each channel in its cell, 0 to 3, of the window at `source`."""
    value = load_stored(source, count, stored, dt)
    value = vselect_eq(cell, vsplat(1, dt), load_stored(source + pixel_bytes, count, stored, dt), value)
    value = vselect_eq(cell, vsplat(2, dt), load_stored(source + row_bytes, count, stored, dt), value)
    corner = load_stored(source + row_bytes + pixel_bytes, count, stored, dt)
    return vselect_eq(cell, vsplat(3, dt), corner, value)


@kernel
def batch_norm_pool_gradient_sums(begin, end, scratch, pooled, x, norm, follows, masked, sums, products):
    """The sums of the gradient through an activation and a 2x2 max pooling: a pooled image a part.

    `pooled` is (gradient, y or empty, argmax), the others are as of `batch_norm_gradient_sums`.
    """
    (grad, y, argmax), (_, _, mean, var, eps) = pooled, norm
    dt, stored, index_dt = grad.dtype, x.dtype, argmax.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * itemsize(stored)
    row_bytes = in_w * pixel_bytes
    cached = cached_sums(scratch, var, channels, eps, dt)
    total_at, product_at, _, rstd_at = cached
    saved = Saved(address(y) if y.size else 0, y.dtype)
    scaling = scaling_of(norm, room_after_sums(scratch, dt), follows, dt)
    for part in range(begin, end):
        for p in range(out_h):
            clear_sums(cached, channels, dt)
            for q in range(out_w):
                pixel = ((part * out_h + p) * out_w + q) * channels
                source = address(x) + ((part * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
                for c in range(0, channels, width):
                    shift, count = c * size, min(width, channels - c)
                    place = (pixel + c) * size
                    cell = vload_index(address(argmax) + (pixel + c) * itemsize(index_dt), count, index_dt, dt)
                    value = _cell_of(source + c * itemsize(stored), cell, row_bytes, pixel_bytes, count, stored, dt)
                    away = value - load(address(mean) + shift, count, dt)
                    g = load(address(grad) + place, count, dt)
                    g = through_activation(g, saved, away, scaling, (place, shift, count), follows, dt)
                    if masked.size:
                        store(address(masked) + place, g, count, dt)
                    z = away * load(rstd_at + shift, count, dt)
                    store(total_at + shift, load(total_at + shift, count, dt) + g, count, dt)
                    store(product_at + shift, vfma(g, z, load(product_at + shift, count, dt)), count, dt)
            flush_sums(scratch, sums, products, sums[:0], part, channels, p == 0)


@kernel
def batch_norm_pool_gradient_apply(begin, end, pooled, x, mean, constants, out):
    """The gradient before a 2x2 max pooling, of a rectifier too where there is `y`: two rows of pixels a task."""
    grad, y, argmax = pooled
    dt, stored, out_stored, index_dt = grad.dtype, x.dtype, out.dtype, argmax.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * size
    places = constants_at(mean, constants, dt)
    pairs = (in_h + 1) // 2
    zero, rectified = vsplat(0, dt), address(y) if y.size else 0
    for task in range(begin, end):
        image, p = task // pairs, task % pairs
        for q in range((in_w + 1) // 2):
            pixel = ((image * out_h + p) * out_w + q) * channels
            start = ((image * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
            in_bounds = p < out_h and q < out_w
            for c in range(0, channels, width):
                shift, count = c * size, min(width, channels - c)
                g, cell = zero, zero
                if in_bounds:
                    g = rectified_gradient(address(grad), rectified, (pixel + c) * size, count, y.dtype, dt)
                    cell = vload_index(address(argmax) + (pixel + c) * itemsize(index_dt), count, index_dt, dt)
                for i in range(4):
                    r, s = i // 2, i % 2
                    if 2 * p + r < in_h and 2 * q + s < in_w:
                        place = start + (r * in_w + s) * pixel_bytes
                        won = vselect_eq(cell, vsplat(i, dt), g, zero)
                        values = address(x) + stored_bytes(place, stored, dt)
                        value = applied(won, values, places, shift, count, stored, dt)
                        target = address(out) + stored_bytes(place + shift, out_stored, dt)
                        put_stored(target, value, count, False, out_stored, dt)
