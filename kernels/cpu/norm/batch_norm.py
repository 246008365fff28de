"""Batch normalisation over all axes but the last: a pass for the statistics, and normalise.py applies them.

x is (rows, channels), mean and var (channels,) or (2, channels), means and squares of the parts (parts, channels).

The rows are cut into parts by shape, a part into blocks that stay in the L2 cache. A block's mean comes first and its
squares are taken around it, so a mean far from zero costs no accuracy; blocks and parts are combined in float64 by the
formula of Chan, Golub and LeVeque (1979, Stanford STAN-CS-79-773), in order. Where squares leave the range of float32,
the block is computed again in float64.

Mean and variance are written with a second row if there is one: what the rounding of the mean left, as large as the
spread itself where that is a millionth of the mean, and the standard deviation, where the variance is out of range.

Bound by memory: two reads and a write of the activation.
"""

import math

import numpy as np

from ..runtime.launch import device, get_num_threads, kernel, launch
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vfma, vsplat
from .forward import normalise_rows

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
        a = a + (load(place, count, dt) - origin)
        b = b + (load(place + row_bytes, count, dt) - origin)
        c = c + (load(place + 2 * row_bytes, count, dt) - origin)
        d = d + (load(place + 3 * row_bytes, count, dt) - origin)
    for i in range(rows // 4 * 4, rows):
        a = a + (load(source + i * row_bytes, count, dt) - origin)
    return (a + b) + (c + d)


@device
def _squares_around(source, mean, rows, row_bytes, count, dt):
    """Sum of ``(x - mean)**2`` over rows, four sums side by side."""
    a, b, c, d = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    for i in range(0, rows - 3, 4):
        place = source + i * row_bytes
        away0, away1 = load(place, count, dt) - mean, load(place + row_bytes, count, dt) - mean
        away2 = load(place + 2 * row_bytes, count, dt) - mean
        away3 = load(place + 3 * row_bytes, count, dt) - mean
        a, b, c, d = vfma(away0, away0, a), vfma(away1, away1, b), vfma(away2, away2, c), vfma(away3, away3, d)
    for i in range(rows // 4 * 4, rows):
        away = load(source + i * row_bytes, count, dt) - mean
        a = vfma(away, away, a)
    return (a + b) + (c + d)


@device
def _block_in_float64(x, first, rows, c):
    """Mean distance of a channel from the first of some rows, and the sum of squares around that mean."""
    origin, total, squares = np.float64(x[first, c]), 0.0, 0.0
    for i in range(first, first + rows):
        total += np.float64(x[i, c]) - origin
    mean = total / rows
    for i in range(first, first + rows):
        away = np.float64(x[i, c]) - origin - mean
        squares += away * away
    return mean, squares


@device
def write_statistics(mean, var, channels, c, origin, distance, variance):
    """Write mean, ``origin + distance``, and variance of a channel, and their second rows where there are such."""
    mean[c], var[c] = origin + distance, variance
    if mean.size > channels:
        mean[channels + c] = (origin - np.float64(mean[c])) + distance
    if var.size > channels:
        var[channels + c] = np.sqrt(variance)


@device
def channel_statistics(x, origin_row, rows, scratch, means, squares):
    """Each channel's mean (as distance from row `origin_row`) and the sum of squares around it; `rows` is a pair."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    channels = x.shape[1]
    (first, stop), block_rows = rows, _block_rows(channels, size)
    # Of a block: its first row, the mean distance from it, the mean in the array's type, the squares around that.
    start, distance = scratch[:channels], scratch[channels : 2 * channels]
    centre, squares_there = scratch[2 * channels : 3 * channels], scratch[3 * channels :]
    for row in range(first, stop, block_rows):
        count = min(block_rows, stop - row)
        share = vsplat(1.0 / count, dt)
        for c in range(0, channels, width):
            channel_count = min(width, channels - c)
            source = address(x) + (row * channels + c) * size
            origin = load(source, channel_count, dt)
            total = _sum_from(source, origin, count, channels * size, channel_count, dt)
            mean = vfma(total, share, origin)
            spread = _squares_around(source, mean, count, channels * size, channel_count, dt)
            store(address(start) + c * size, origin, channel_count, dt)
            store(address(distance) + c * size, total * share, channel_count, dt)
            store(address(centre) + c * size, mean, channel_count, dt)
            store(address(squares_there) + c * size, spread, channel_count, dt)
        before = row - first
        grown = count / (before + count)
        for c in range(channels):
            origin = np.float64(start[c])
            block_mean = origin - np.float64(x[origin_row, c]) + np.float64(distance[c])
            rounding = origin - np.float64(centre[c]) + np.float64(distance[c])
            block_squares = np.float64(squares_there[c]) - count * rounding * rounding
            if not math.isfinite(block_squares):
                away, block_squares = _block_in_float64(x, row, count, c)
                block_mean = origin - np.float64(x[origin_row, c]) + away
            if before == 0:
                means[c], squares[c] = block_mean, block_squares
            else:
                away = block_mean - means[c]
                means[c] += away * grown
                squares[c] += block_squares + away * away * (before * grown)


@kernel
def batch_norm_statistics(begin, end, scratch, x, means, squares):
    """For each part, each channel's mean (as distance from the first row of x) and the sum of squares around it."""
    for part in range(begin, end):
        rows = part * _PART_ROWS, min((part + 1) * _PART_ROWS, x.shape[0])
        channel_statistics(x, 0, rows, scratch, means[part], squares[part])


@kernel
def combine_statistics(begin, end, x, means, squares, mean, var):
    """Combine the parts in order."""
    rows, channels = x.shape
    for c in range(channels):
        centre, total = means[0, c], squares[0, c]
        for part in range(1, means.shape[0]):
            before = part * _PART_ROWS
            count = min(_PART_ROWS, rows - before)
            away = means[part, c] - centre
            centre += away * (count / (before + count))
            total += squares[part, c] + away * away * (before * count / (before + count))
        write_statistics(mean, var, channels, c, np.float64(x[0, c]), centre, total / rows)


def _parts(rows):
    return -(-len(rows) // _PART_ROWS)


def statistics(x, mean, var, workspace):
    """Mean and biased variance of each channel; see `Backend.batch_norm` for their second rows."""
    channels = mean.shape[-1]
    rows = x.reshape(-1, channels)
    means, squares = (workspace.empty((_parts(rows), channels), np.float64) for _ in range(2))
    scratch = workspace.empty((get_num_threads(), 4 * channels), x.dtype)
    launch(batch_norm_statistics, _parts(rows), rows, means, squares, scratch=scratch)
    launch(combine_statistics, 1, rows, means, squares, mean.reshape(-1), var.reshape(-1))


def batch_norm(x, gamma, beta, *, eps, out, mean, var, workspace):
    """Normalise with the statistics of the batch."""
    statistics(x, mean, var, workspace)
    normalise_rows(x, (gamma, beta, mean, var, eps), out)


@kernel
def move_running_stats(begin, end, mean, var, momentum, unbiased, running_mean, running_var):
    """All channels in one task; a variance that is infinite stays so, without a difference of two infinities."""
    kept = 1 - momentum
    for c in range(mean.size):
        running_mean[c] = kept * running_mean[c] + momentum * mean[c]
        running_var[c] = kept * running_var[c] + momentum * (unbiased * var[c])


def update_running_stats(mean, var, *, momentum, count, running_mean, running_var):
    """Move the running statistics towards those of the batch."""
    unbiased = count / (count - 1) if count > 1 else 1.0
    launch(move_running_stats, 1, mean, var, float(momentum), unbiased, running_mean, running_var)
