"""Gradients of a batch normalisation, alone or behind a rectifier, a shortcut's addition, or a 2x2 max pooling.

Two passes. The first sums, for each channel, the gradient g and its product with x - mean; the second applies them:

    grad_input = a * g - k * (x - mean) - a * b,    a = gamma / sqrt(var + eps), b = mean of g, k from the products

The first may have been done by the convolution behind (winograd_norm.py); then `apply` is all that is left.

What follows the normalisation forward stands before it backward, and both passes compute it anew instead of storing
it: behind a rectifier g counts where y > 0 (or is NaN), behind a pooling where the cell won its window.

Rows are cut into parts by shape. Within a part four rows at a time are added to sums in the L1 cache, every 256 rows
those to float64 sums; parts are added in order. Bound by memory: the inputs are read twice, the gradient written once.
"""

import numpy as np

from .elementwise import load, store
from .launch import device, kernel, launch, thread_rows
from .simd import (
    LINE_BYTES,
    STREAM_BYTES,
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    prefetch,
    vfma,
    vload_index,
    vselect_eq,
    vselect_not_le,
    vsplat,
    vstore_stream,
)
from .stored import load_stored, put_stored, stored_bytes

_PART_ROWS = 2048
_BLOCK_BYTES = 64 * 1024
_AHEAD_BYTES = 4096  # a page, where the hardware stops reading ahead: sums of 128x32x32x64 on Zen 5 0.78 ms, 0.68 so
_FLUSH_ROWS = 256  # short enough for float32 sums to lose next to nothing


@device
def _gradient(grad, y, place, count, y_stored, dt):
    """The gradient behind the rectifier whose result is at `y` (no rectifier: 0), `place` bytes from the start."""
    g = load(grad + place, count, dt)
    if y != 0:
        zero = vsplat(0, dt)
        g = vselect_not_le(load_stored(y + stored_bytes(place, y_stored, dt), count, y_stored, dt), zero, g, zero)
    return g


@device
def _kept_gradient(grad, y, kept, place, count, y_stored, dt):
    """As `_gradient`, and written to `kept` unless that is 0."""
    g = _gradient(grad, y, place, count, y_stored, dt)
    if kept != 0:
        store(kept + place, g, count, dt)
    return g


@device
def clear_sums(sums, products, channels, dt):
    """Zero the sums in the cache."""
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        store(sums + c * itemsize(dt), vsplat(0, dt), count, dt)
        store(products + c * itemsize(dt), vsplat(0, dt), count, dt)


@device
def _flush(scratch, sums, products, part, channels, first):
    """Add the sums in the cache to those of the part, in float64, or start them."""
    half = scratch.size // 2
    for c in range(channels):
        sums[part, c] = np.float64(scratch[c]) + (0.0 if first else sums[part, c])
        products[part, c] = np.float64(scratch[half + c]) + (0.0 if first else products[part, c])


@device
def _away(x, place, centre, count, stored, dt):
    """Distance of x from its mean, `place` bytes of the gradient's type from the start."""
    return load_stored(x + stored_bytes(place, stored, dt), count, stored, dt) - centre


@device
def _add_rows(grad, y, kept, x, place, rows, row_bytes, mean, sums, products, count, stored_as, dt):
    """Add up to four rows of one vector of channels."""
    stored, y_stored = stored_as
    for ahead in range(place + _AHEAD_BYTES, place + _AHEAD_BYTES + 4 * row_bytes, row_bytes):
        prefetch(grad + ahead)
        prefetch(x + stored_bytes(ahead, stored, dt))
    centre = load(mean, count, dt)
    g = _kept_gradient(grad, y, kept, place, count, y_stored, dt)
    total, product = g, g * _away(x, place, centre, count, stored, dt)
    if rows > 1:
        place += row_bytes
        g = _kept_gradient(grad, y, kept, place, count, y_stored, dt)
        total, product = total + g, vfma(g, _away(x, place, centre, count, stored, dt), product)
    if rows > 2:
        place += row_bytes
        g = _kept_gradient(grad, y, kept, place, count, y_stored, dt)
        total, product = total + g, vfma(g, _away(x, place, centre, count, stored, dt), product)
    if rows > 3:
        place += row_bytes
        g = _kept_gradient(grad, y, kept, place, count, y_stored, dt)
        total, product = total + g, vfma(g, _away(x, place, centre, count, stored, dt), product)
    store(sums, load(sums, count, dt) + total, count, dt)
    store(products, load(products, count, dt) + product, count, dt)


@kernel
def batch_norm_gradient_sums(begin, end, scratch, grad, y, x, mean, masked, sums, products):
    """For each part, the sum of the gradient and of its product with x - mean, in float64.

    The gradient behind the rectifier is written to `masked` unless that is empty.
    """
    dt, stored_as = mean.dtype, (x.dtype, y.dtype)
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    row_bytes = channels * size
    whole = channels // width * width
    cached, cached_products = address(scratch), address(scratch) + scratch.size // 2 * size
    rectified, kept = address(y) if y.size else 0, address(masked) if masked.size else 0
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        for block in range(part * _PART_ROWS, stop, _FLUSH_ROWS):
            clear_sums(cached, cached_products, channels, dt)
            last = min(block + _FLUSH_ROWS, stop)
            for i in range(block, last, 4):
                place, several = i * row_bytes, min(4, last - i)
                for shift in range(0, whole * size, VECTOR_BYTES):
                    _add_rows(
                        *(address(grad), rectified, kept, address(x), place + shift, several, row_bytes),
                        *(address(mean) + shift, cached + shift, cached_products + shift, width, stored_as, dt),
                    )
                if whole < channels:
                    shift, rest = whole * size, channels - whole
                    _add_rows(
                        *(address(grad), rectified, kept, address(x), place + shift, several, row_bytes),
                        *(address(mean) + shift, cached + shift, cached_products + shift, rest, stored_as, dt),
                    )
            _flush(scratch, sums, products, part, channels, block == part * _PART_ROWS)


@kernel
def combine_gradients(begin, end, sums, products, var, eps, grad_gamma, grad_beta):
    """Add the parts in order."""
    for c in range(grad_gamma.size):
        total, product = 0.0, 0.0
        for part in range(sums.shape[0]):
            total += np.float64(sums[part, c])
            product += np.float64(products[part, c])
        grad_beta[c], grad_gamma[c] = total, product / np.sqrt(np.float64(var[c]) + eps)


@kernel
def gradient_constants(begin, end, rows, grad_gamma, grad_beta, gamma, var, eps, a, b, k):
    """Constants of ``grad_input = a * g + k * (x - mean) + b``."""
    for c in range(gamma.size):
        rstd = 1.0 / np.sqrt(np.float64(var[c]) + eps)
        a[c], b[c] = gamma[c] * rstd, -gamma[c] * rstd * grad_beta[c] / rows
        k[c] = -gamma[c] * rstd * rstd * grad_gamma[c] / rows


@device
def _applied(g, x, constants, shift, count, stored, dt):
    """A * g + k * (x - mean) + b."""
    mean, a, b, k = constants
    away = _away(x, shift, load(mean + shift, count, dt), count, stored, dt)
    value = vfma(load(k + shift, count, dt), away, load(b + shift, count, dt))
    return vfma(load(a + shift, count, dt), g, value)


@device
def _apply_part(grad, y, x, residual, target, constants, shift, count, stream, stored_as, dt):
    stored, y_stored, out_stored = stored_as
    g = _gradient(grad, y, shift, count, y_stored, dt)
    value = _applied(g, x, constants, shift, count, stored, dt)
    if residual != 0 and stream:
        vstore_stream(residual + shift, g)
    elif residual != 0:
        store(residual + shift, g, count, dt)
    put_stored(target + stored_bytes(shift, out_stored, dt), value, count, stream, out_stored, dt)


@kernel
def batch_norm_gradient_apply(begin, end, grad, y, x, mean, a, b, k, out, residual, block_rows, stream):
    """A block of rows a task; the gradient of the shortcut goes to `residual` unless that is empty."""
    dt, stored_as = grad.dtype, (x.dtype, y.dtype, out.dtype)
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    whole = channels // width * width
    constants = address(mean), address(a), address(b), address(k)
    for i in range(begin * block_rows, min(end * block_rows, rows)):
        place = i * channels * size
        rectified = address(y) + stored_bytes(place, y.dtype, dt) if y.size else 0
        shortcut = address(residual) + place if residual.size else 0
        source, target = address(grad) + place, address(out) + stored_bytes(place, out.dtype, dt)
        values = address(x) + stored_bytes(place, x.dtype, dt)
        for c in range(0, whole, width):
            _apply_part(source, rectified, values, shortcut, target, constants, c * size, width, stream, stored_as, dt)
        if whole < channels:
            shift, rest = whole * size, channels - whole
            _apply_part(source, rectified, values, shortcut, target, constants, shift, rest, False, stored_as, dt)


@device
def _cell_of(source, cell, row_bytes, pixel_bytes, count, stored, dt):
    """The value of each channel in its cell, 0 to 3, of the window at `source`."""
    value = load_stored(source, count, stored, dt)
    value = vselect_eq(cell, vsplat(1, dt), load_stored(source + pixel_bytes, count, stored, dt), value)
    value = vselect_eq(cell, vsplat(2, dt), load_stored(source + row_bytes, count, stored, dt), value)
    corner = load_stored(source + row_bytes + pixel_bytes, count, stored, dt)
    return vselect_eq(cell, vsplat(3, dt), corner, value)


@kernel
def batch_norm_pool_gradient_sums(begin, end, scratch, grad, y, argmax, x, mean, sums, products):
    """The sums behind a rectifier and a 2x2 max pooling: a pooled image a part."""
    dt, stored, index_dt = grad.dtype, x.dtype, argmax.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * itemsize(stored)
    row_bytes = in_w * pixel_bytes
    cached, cached_products = address(scratch), address(scratch) + scratch.size // 2 * size
    for part in range(begin, end):
        for p in range(out_h):
            clear_sums(cached, cached_products, channels, dt)
            for q in range(out_w):
                pixel = ((part * out_h + p) * out_w + q) * channels
                source = address(x) + ((part * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
                for c in range(0, channels, width):
                    shift, count = c * size, min(width, channels - c)
                    g = _gradient(address(grad), address(y), (pixel + c) * size, count, y.dtype, dt)
                    cell = vload_index(address(argmax) + (pixel + c) * itemsize(index_dt), count, index_dt, dt)
                    value = _cell_of(source + c * itemsize(stored), cell, row_bytes, pixel_bytes, count, stored, dt)
                    value = value - load(address(mean) + shift, count, dt)
                    store(cached + shift, load(cached + shift, count, dt) + g, count, dt)
                    total = vfma(g, value, load(cached_products + shift, count, dt))
                    store(cached_products + shift, total, count, dt)
            _flush(scratch, sums, products, part, channels, p == 0)


@kernel
def batch_norm_pool_gradient_apply(begin, end, grad, y, argmax, x, mean, a, b, k, out):
    """The gradient behind a rectifier and a 2x2 max pooling: two rows of pixels a task."""
    dt, stored, out_stored, index_dt = grad.dtype, x.dtype, out.dtype, argmax.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * size
    constants = address(mean), address(a), address(b), address(k)
    pairs = (in_h + 1) // 2
    zero = vsplat(0, dt)
    for task in range(begin, end):
        image, p = task // pairs, task % pairs
        for q in range((in_w + 1) // 2):
            pixel = ((image * out_h + p) * out_w + q) * channels
            start = ((image * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
            pooled = p < out_h and q < out_w
            for c in range(0, channels, width):
                shift, count = c * size, min(width, channels - c)
                g, cell = zero, zero
                if pooled:
                    g = _gradient(address(grad), address(y), (pixel + c) * size, count, y.dtype, dt)
                    cell = vload_index(address(argmax) + (pixel + c) * itemsize(index_dt), count, index_dt, dt)
                for i in range(4):
                    r, s = i // 2, i % 2
                    if 2 * p + r < in_h and 2 * q + s < in_w:
                        place = start + (r * in_w + s) * pixel_bytes
                        won = vselect_eq(cell, vsplat(i, dt), g, zero)
                        values = address(x) + stored_bytes(place, stored, dt)
                        value = _applied(won, values, constants, shift, count, stored, dt)
                        target = address(out) + stored_bytes(place + shift, out_stored, dt)
                        put_stored(target, value, count, False, out_stored, dt)


_NOTHING = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


def sum_scratch(channels, dtype):
    """Sums in the cache, a row for each thread, each half on lines of its own."""
    half = -(-channels * dtype.itemsize // LINE_BYTES) * LINE_BYTES
    return thread_rows(2 * half, dtype)


def _sums(grad, y, x, mean, var, masked, grad_gamma, grad_beta, eps, workspace):
    """Launch the first pass over arrays as rows; `y` and `masked` are flat, or empty."""
    parts = -(-len(x) // _PART_ROWS)
    sums, products = (workspace.empty((parts, mean.size), np.float64) for _ in range(2))
    arguments = (grad, y, x, mean, masked, sums, products)
    launch(batch_norm_gradient_sums, parts, *arguments, scratch=sum_scratch(mean.size, mean.dtype))
    launch(combine_gradients, 1, sums, products, var, float(eps), grad_gamma, grad_beta)


def _constants(rows, grad_gamma, grad_beta, gamma, var, eps, workspace):
    a, b, k = (workspace.empty(gamma.shape, gamma.dtype) for _ in range(3))
    launch(gradient_constants, 1, rows, grad_gamma, grad_beta, gamma, var, float(eps), a, b, k)
    return a, b, k


def _apply(grad, y, x, residual, mean, constants, grad_input):
    """Launch the second pass over arrays as rows; `y` and `residual` are flat, or empty."""
    block_rows = max(1, _BLOCK_BYTES // (2 * mean.nbytes))
    apart = residual.ctypes.data != grad.ctypes.data  # not over what was just read
    addresses = (mean.nbytes, grad_input.ctypes.data, residual.ctypes.data if residual.size else 0)
    stream = grad_input.nbytes >= STREAM_BYTES and apart and not any(n % VECTOR_BYTES for n in addresses)
    launch(
        *(batch_norm_gradient_apply, -(-len(x) // block_rows), grad, y, x, mean, *constants),
        *(grad_input, residual, block_rows, stream),
    )


def batch_norm_backward(
    grad_output, x, gamma, mean, var, *, eps, grad_input, grad_gamma, grad_beta, workspace, y=None, grad_residual=None
):
    """Gradients of `batch_norm`, behind a rectifier with result `y`; that of a shortcut too if asked for."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    nothing = _NOTHING[gamma.dtype]
    y = nothing if y is None else y.reshape(-1)
    residual = nothing if grad_residual is None else grad_residual.reshape(-1)
    _sums(grad, y, rows, mean, var, nothing, grad_gamma, grad_beta, eps, workspace)
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, var, eps, workspace)
    _apply(grad, y, rows, residual, mean, constants, grad_input)


def relu_sums(grad_output, y, x, *, mean, var, eps, out, grad_gamma, grad_beta, workspace):
    """The gradient behind the rectifier, and those of gamma and beta."""
    rows, grad = x.reshape(-1, mean.size), grad_output.reshape(-1, mean.size)
    _sums(grad, y.reshape(-1), rows, mean, var, out.reshape(-1), grad_gamma, grad_beta, eps, workspace)


def apply(grad_output, x, gamma, mean, var, *, eps, grad_gamma, grad_beta, grad_input, workspace):
    """The gradient of x from those of gamma and beta."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    nothing = _NOTHING[gamma.dtype]
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, var, eps, workspace)
    _apply(grad, nothing, rows, nothing, mean, constants, grad_input)


def batch_norm_relu_max_pool2d_backward(
    grad_output, y, argmax, x, gamma, mean, var, *, eps, grad_input, grad_gamma, grad_beta, workspace
):
    """Gradients of a normalisation, rectifier and 2x2 max pooling."""
    sums, products = (workspace.empty((x.shape[0], gamma.size), np.float64) for _ in range(2))
    arguments = (grad_output, y, argmax, x, mean, sums, products)
    launch(batch_norm_pool_gradient_sums, x.shape[0], *arguments, scratch=sum_scratch(gamma.size, gamma.dtype))
    launch(combine_gradients, 1, sums, products, var, float(eps), grad_gamma, grad_beta)
    constants = _constants(x.size // gamma.size, grad_gamma, grad_beta, gamma, var, eps, workspace)
    arguments = (grad_output, y, argmax, x, mean, *constants, grad_input)
    launch(batch_norm_pool_gradient_apply, x.shape[0] * -(-x.shape[1] // 2), *arguments)
