"""Batch normalisation over all axes but the last: a pass for the statistics, one that applies them; the same backward.

The rows are cut into parts by shape, a part into blocks that stay in the L2 cache. A block's mean comes first and its
squares are taken around it, so a mean far from zero costs no accuracy; blocks and parts are combined in float64 by the
formula of Chan, Golub and LeVeque (1979, Stanford STAN-CS-79-773), in order. Backward sums the gradient and its product
with the normalised input.

Bound by memory: forward two reads and a write of the activation, backward four reads and a write.
"""

import numpy as np

from .launch import device, get_num_threads, kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vfma, vload_part, vsplat, vstore_part

_PART_ROWS = 2048
_BLOCK_BYTES = 64 * 1024
_BLOCK_ROWS = 256  # in four sums side by side: short enough to lose next to nothing


@device
def _block_rows(channels, size):
    return max(1, min(_BLOCK_BYTES // (channels * size), _BLOCK_ROWS))


@device
def _sum_from(source, origin, rows, row_bytes, count, dt):
    """Sum of ``x - origin`` over rows, four sums side by side: less rounding, and no waiting for the last addition."""
    a, b, c, d = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    for i in range(0, rows - 3, 4):
        place = source + i * row_bytes
        a = a + (vload_part(place, count, dt) - origin)
        b = b + (vload_part(place + row_bytes, count, dt) - origin)
        c = c + (vload_part(place + 2 * row_bytes, count, dt) - origin)
        d = d + (vload_part(place + 3 * row_bytes, count, dt) - origin)
    for i in range(rows // 4 * 4, rows):
        a = a + (vload_part(source + i * row_bytes, count, dt) - origin)
    return (a + b) + (c + d)


@device
def _squares_around(source, mean, rows, row_bytes, count, dt):
    """Sum of ``(x - mean)**2`` over rows, four sums side by side."""
    a, b, c, d = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    for i in range(0, rows - 3, 4):
        place = source + i * row_bytes
        away0, away1 = vload_part(place, count, dt) - mean, vload_part(place + row_bytes, count, dt) - mean
        away2 = vload_part(place + 2 * row_bytes, count, dt) - mean
        away3 = vload_part(place + 3 * row_bytes, count, dt) - mean
        a, b, c, d = vfma(away0, away0, a), vfma(away1, away1, b), vfma(away2, away2, c), vfma(away3, away3, d)
    for i in range(rows // 4 * 4, rows):
        away = vload_part(source + i * row_bytes, count, dt) - mean
        a = vfma(away, away, a)
    return (a + b) + (c + d)


@kernel
def batch_norm_statistics(begin, end, scratch, x, means, squares):
    """For each part, each channel's mean (as distance from the first row of x) and the sum of squares around it."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = _block_rows(channels, size)
    # Of a block: its first row, the mean distance from it, the mean in the array's type, the squares around that.
    start, distance = scratch[:channels], scratch[channels : 2 * channels]
    centre, squares_there = scratch[2 * channels : 3 * channels], scratch[3 * channels :]
    for part in range(begin, end):
        first, stop = part * _PART_ROWS, min((part + 1) * _PART_ROWS, rows)
        for row in range(first, stop, block_rows):
            count = min(block_rows, stop - row)
            share = vsplat(1.0 / count, dt)
            for c in range(0, channels, width):
                channel_count = min(width, channels - c)
                source = address(x) + (row * channels + c) * size
                origin = vload_part(source, channel_count, dt)
                total = _sum_from(source, origin, count, channels * size, channel_count, dt)
                mean = vfma(total, share, origin)
                spread = _squares_around(source, mean, count, channels * size, channel_count, dt)
                vstore_part(address(start) + c * size, origin, channel_count)
                vstore_part(address(distance) + c * size, total * share, channel_count)
                vstore_part(address(centre) + c * size, mean, channel_count)
                vstore_part(address(squares_there) + c * size, spread, channel_count)
            before = row - first
            grown = count / (before + count)
            for c in range(channels):
                origin = np.float64(start[c])
                block_mean = origin - np.float64(x[0, c]) + np.float64(distance[c])
                rounding = origin - np.float64(centre[c]) + np.float64(distance[c])
                block_squares = np.float64(squares_there[c]) - count * rounding * rounding
                if before == 0:
                    means[part, c], squares[part, c] = block_mean, block_squares
                else:
                    away = block_mean - means[part, c]
                    means[part, c] += away * grown
                    squares[part, c] += block_squares + away * away * (before * grown)


@kernel
def combine_statistics(begin, end, x, means, squares, gamma, beta, eps, mean, var, factor, shift):
    """Combine the parts in order; ``factor = gamma / sqrt(var + eps)``, `shift` is beta less what rounding took."""
    rows = x.shape[0]
    for c in range(mean.size):
        centre, total = means[0, c], squares[0, c]
        for part in range(1, means.shape[0]):
            before = part * _PART_ROWS
            count = min(_PART_ROWS, rows - before)
            away = means[part, c] - centre
            centre += away * (count / (before + count))
            total += squares[part, c] + away * away * (before * count / (before + count))
        origin = np.float64(x[0, c])
        mean[c], var[c] = origin + centre, total / rows
        scale = gamma[c] / np.sqrt(total / rows + eps)
        factor[c], shift[c] = scale, beta[c] - (origin - np.float64(mean[c]) + centre) * scale


@kernel
def normalise(begin, end, x, mean, factor, beta, out):
    """``out = (x - mean) * factor + beta``, a block of rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = _block_rows(channels, size)
    for block in range(begin, end):
        for c in range(0, channels, width):
            count = min(width, channels - c)
            centre = vload_part(address(mean) + c * size, count, dt)
            scale = vload_part(address(factor) + c * size, count, dt)
            shift = vload_part(address(beta) + c * size, count, dt)
            for i in range(block * block_rows, min((block + 1) * block_rows, rows)):
                place = (i * channels + c) * size
                value = vfma(vload_part(address(x) + place, count, dt) - centre, scale, shift)
                vstore_part(address(out) + place, value, count)


@device
def _add_to(sums, part, c, count, value, first, lane):
    """Add a vector, by way of the array `lane`, to a row of float64 sums, or start it."""
    vstore_part(address(lane), value, count)
    for i in range(count):
        sums[part, c + i] = lane[i] if first else sums[part, c + i] + lane[i]


@kernel
def batch_norm_gradient_sums(begin, end, scratch, grad, x, mean, sums, products):
    """For each part, the sum of the gradient and of its product with x - mean, in float64."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = _block_rows(channels, 2 * size)
    for part in range(begin, end):
        stop = min((part + 1) * _PART_ROWS, rows)
        for row in range(part * _PART_ROWS, stop, block_rows):
            for c in range(0, channels, width):
                count = min(width, channels - c)
                centre = vload_part(address(mean) + c * size, count, dt)
                total, product = vsplat(0, dt), vsplat(0, dt)
                total1, product1 = total, product
                last = min(row + block_rows, stop)
                for i in range(row, last - 1, 2):
                    place = (i * channels + c) * size
                    g, g1 = (
                        vload_part(address(grad) + place, count, dt),
                        vload_part(address(grad) + place + channels * size, count, dt),
                    )
                    away = vload_part(address(x) + place, count, dt) - centre
                    away1 = vload_part(address(x) + place + channels * size, count, dt) - centre
                    total, total1 = total + g, total1 + g1
                    product, product1 = vfma(g, away, product), vfma(g1, away1, product1)
                if (last - row) % 2:
                    place = ((last - 1) * channels + c) * size
                    g = vload_part(address(grad) + place, count, dt)
                    total = total + g
                    product = vfma(g, vload_part(address(x) + place, count, dt) - centre, product)
                total, product = total + total1, product + product1
                _add_to(sums, part, c, count, total, row == part * _PART_ROWS, scratch)
                _add_to(products, part, c, count, product, row == part * _PART_ROWS, scratch)


@kernel
def combine_gradients(begin, end, rows, sums, products, gamma, var, eps, grad_gamma, grad_beta, a, b, k):
    """Add the parts in order; ``grad_input = a * (grad - b) - k * (x - mean)``."""
    for c in range(gamma.size):
        total, product = 0.0, 0.0
        for part in range(sums.shape[0]):
            total += sums[part, c]
            product += products[part, c]
        rstd = 1.0 / np.sqrt(np.float64(var[c]) + eps)
        grad_beta[c], grad_gamma[c] = total, product * rstd
        a[c], b[c] = gamma[c] * rstd, total / rows
        k[c] = gamma[c] * rstd * rstd * rstd * product / rows


@kernel
def batch_norm_gradient_apply(begin, end, grad, x, mean, a, b, k, out):
    """``out = a * (grad - b) - k * (x - mean)``, a block of rows a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    block_rows = _block_rows(channels, 2 * size)
    zero = vsplat(0, dt)
    for block in range(begin, end):
        for c in range(0, channels, width):
            count = min(width, channels - c)
            centre = vload_part(address(mean) + c * size, count, dt)
            scale, shift = vload_part(address(a) + c * size, count, dt), vload_part(address(b) + c * size, count, dt)
            slope = zero - vload_part(address(k) + c * size, count, dt)
            for i in range(block * block_rows, min((block + 1) * block_rows, rows)):
                place = (i * channels + c) * size
                g = vload_part(address(grad) + place, count, dt) - shift
                away = vload_part(address(x) + place, count, dt) - centre
                vstore_part(address(out) + place, vfma(slope, away, scale * g), count)


def _parts(rows):
    return -(-len(rows) // _PART_ROWS)


def _blocks(rows, words):
    channels = rows.shape[1]
    return -(-len(rows) // max(1, min(_BLOCK_BYTES // (words * channels * rows.itemsize), _BLOCK_ROWS)))


def batch_norm(x, gamma, beta, *, eps, out, mean, var, workspace):
    """Normalise with the statistics of the batch."""
    rows = x.reshape(-1, gamma.size)
    means, squares = (workspace.empty((_parts(rows), gamma.size), np.float64) for _ in range(2))
    factor, shift = (workspace.empty(gamma.shape, x.dtype) for _ in range(2))
    scratch = workspace.empty((get_num_threads(), 4 * gamma.size), x.dtype)
    launch(batch_norm_statistics, _parts(rows), rows, means, squares, scratch=scratch)
    arguments = (rows, means, squares, gamma, beta, float(eps), mean, var, factor, shift)
    launch(combine_statistics, 1, *arguments)
    launch(normalise, _blocks(rows, 1), rows, mean, factor, shift, out.reshape(rows.shape))


def batch_norm_inference(x, gamma, beta, mean, var, *, eps, out):
    """Normalise with given statistics."""
    rows = x.reshape(-1, gamma.size)
    factor = (gamma / np.sqrt(var.astype(np.float64) + eps)).astype(gamma.dtype)
    launch(normalise, _blocks(rows, 1), rows, mean, factor, beta, out.reshape(rows.shape))


def batch_norm_backward(grad_output, x, gamma, mean, var, *, eps, grad_input, grad_gamma, grad_beta, workspace):
    """Gradients of `batch_norm`."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    sums, products = (workspace.empty((_parts(rows), gamma.size), np.float64) for _ in range(2))
    a, b, k = (workspace.empty(gamma.shape, x.dtype) for _ in range(3))
    lane = workspace.empty((get_num_threads(), VECTOR_BYTES // x.itemsize), x.dtype)
    launch(batch_norm_gradient_sums, _parts(rows), grad, rows, mean, sums, products, scratch=lane)
    arguments = (len(rows), sums, products, gamma, var, float(eps), grad_gamma, grad_beta, a, b, k)
    launch(combine_gradients, 1, *arguments)
    out = grad_input.reshape(rows.shape)
    launch(batch_norm_gradient_apply, _blocks(rows, 2), grad, rows, mean, a, b, k, out)


def update_running_stats(mean, var, *, momentum, count, running_mean, running_var):
    """Move the running statistics towards those of the batch."""
    unbiased = count / (count - 1) if count > 1 else 1.0
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (unbiased * var - running_var)
