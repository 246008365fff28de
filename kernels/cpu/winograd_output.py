"""The second half of a Winograd convolution: products back to outputs, and what was asked for behind them.

``y = max(A^T M A + bias + addend, floor)`` for tiles of 4x4 outputs (2x2 with a 5x5 kernel), cut at the edges of the
map. Mean and variance of each channel are taken while the outputs are still in registers: for a block of tiles the
distances from its first output and their squares, combined over blocks in float64 by the formula of Chan, Golub and
LeVeque (1979, Stanford STAN-CS-79-773).
"""

import numpy as np

from .elementwise import load, store
from .launch import device, kernel
from .simd import (
    VECTOR_BYTES,
    itemsize,
    lanes,
    vfma,
    vload,
    vload_part,
    vselect_not_le,
    vsplat,
    vstore_stream,
)
from .winograd_transforms import SMALL_TILE, TILE, output_row, small_output_row


@device
def _row(m0, m1, m2, m3, m4, m5, small, dt):
    if small:
        return small_output_row(m0, m1, m2, m3, m4, m5, dt)
    return output_row(m0, m1, m2, m3, m4, m5, dt)


@device
def _products_column(place, step, small, dt):
    return _row(
        vload(place, dt),
        vload(place + step, dt),
        vload(place + 2 * step, dt),
        vload(place + 3 * step, dt),
        vload(place + 4 * step, dt),
        vload(place + 5 * step, dt),
        small,
        dt,
    )


@device
def _store(place, value, count, stream, dt):
    if stream:
        vstore_stream(place, value)
    else:
        store(place, value, count, dt)


@device
def _store_row(place, pixel_bytes, y, cols, count, stream, dt):
    """Write up to four outputs of a row, `count` channels each."""
    _store(place, y[0], count, stream, dt)
    if cols > 1:
        _store(place + pixel_bytes, y[1], count, stream, dt)
    if cols > 2:
        _store(place + 2 * pixel_bytes, y[2], count, stream, dt)
    if cols > 3:
        _store(place + 3 * pixel_bytes, y[3], count, stream, dt)


@device
def _finish_row(a, b, e, f, g, h, addend, pixel_bytes, cols, count, start, floor, small, dt):
    """A^T M for one row of a tile, with the bias, what is to be added, and the rectifier."""
    y = _row(a, b, e, f, g, h, small, dt)
    y0, y1, y2, y3 = y[0] + start, y[1] + start, y[2] + start, y[3] + start
    if addend != 0:
        y0 = y0 + load(addend, count, dt)
        y1 = y1 + load(addend + pixel_bytes, count if cols > 1 else 0, dt)
        y2 = y2 + load(addend + 2 * pixel_bytes, count if cols > 2 else 0, dt)
        y3 = y3 + load(addend + 3 * pixel_bytes, count if cols > 3 else 0, dt)
    return (
        vselect_not_le(y0, floor, y0, floor),
        vselect_not_le(y1, floor, y1, floor),
        vselect_not_le(y2, floor, y2, floor),
        vselect_not_le(y3, floor, y3, floor),
    )


@device
def _count_in(sums, y, cols):
    """Add up to four outputs to the statistics: their distance from the origin and its square."""
    origin, total, squares = sums
    away = y[0] - origin
    total, squares = total + away, vfma(away, away, squares)
    if cols > 1:
        away = y[1] - origin
        total, squares = total + away, vfma(away, away, squares)
    if cols > 2:
        away = y[2] - origin
        total, squares = total + away, vfma(away, away, squares)
    if cols > 3:
        away = y[3] - origin
        total, squares = total + away, vfma(away, away, squares)
    return origin, total, squares


@device
def _transform_products(
    place, plane_bytes, target, addend, steps, there, count, start, floor, stream, sums, counts, small, dt
):
    """Y = A^T M A for one tile and vector of channels; `there` rows and columns of its outputs lie in the image."""
    step = 6 * plane_bytes
    row_bytes, pixel_bytes = steps
    rows, cols = there
    a = _products_column(place, step, small, dt)
    b = _products_column(place + plane_bytes, step, small, dt)
    e = _products_column(place + 2 * plane_bytes, step, small, dt)
    f = _products_column(place + 3 * plane_bytes, step, small, dt)
    g = _products_column(place + 4 * plane_bytes, step, small, dt)
    h = _products_column(place + 5 * plane_bytes, step, small, dt)
    y = _finish_row(a[0], b[0], e[0], f[0], g[0], h[0], addend, pixel_bytes, cols, count, start, floor, small, dt)
    _store_row(target, pixel_bytes, y, cols, count, stream, dt)
    if counts:
        sums = _count_in(sums, y, cols)
    if rows > 1:
        more = addend + row_bytes if addend else 0
        y = _finish_row(a[1], b[1], e[1], f[1], g[1], h[1], more, pixel_bytes, cols, count, start, floor, small, dt)
        _store_row(target + row_bytes, pixel_bytes, y, cols, count, stream, dt)
        if counts:
            sums = _count_in(sums, y, cols)
    if rows > 2:
        more = addend + 2 * row_bytes if addend else 0
        y = _finish_row(a[2], b[2], e[2], f[2], g[2], h[2], more, pixel_bytes, cols, count, start, floor, small, dt)
        _store_row(target + 2 * row_bytes, pixel_bytes, y, cols, count, stream, dt)
        if counts:
            sums = _count_in(sums, y, cols)
    if rows > 3:
        more = addend + 3 * row_bytes if addend else 0
        y = _finish_row(a[3], b[3], e[3], f[3], g[3], h[3], more, pixel_bytes, cols, count, start, floor, small, dt)
        _store_row(target + 3 * row_bytes, pixel_bytes, y, cols, count, stream, dt)
        if counts:
            sums = _count_in(sums, y, cols)
    return sums


@device
def _first_output(place, plane_bytes, start, dt):
    """The first output of a tile: around it the statistics of a block are taken."""
    total = start
    for i in range(5):
        for j in range(5):
            total = total + vload(place + (6 * i + j) * plane_bytes, dt)
    return total


@device
def _transform_all(products, row_bytes_m, finish, block, channel, plan, small, dt):
    size = itemsize(dt)
    first, tiles = block
    out, bias, addend, partial, floor_value = finish
    floor = vsplat(floor_value, dt)
    count = min(lanes(dt), plan.out_channels - channel)
    start = vsplat(0, dt)
    if bias != 0:
        start = vload_part(bias + channel * size, count, dt)
    pixel_bytes = plan.out_channels * size
    row_bytes = plan.out_w * pixel_bytes
    plane_bytes = plan.rows * row_bytes_m
    sums = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
    if partial != 0:
        sums = _first_output(products, plane_bytes, start, dt), sums[1], sums[2]
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    outputs = 0
    tile = SMALL_TILE if small else TILE
    for t in range(tiles):
        h, w = i * tile, j * tile
        rows, cols = min(tile, plan.out_h - h), min(tile, plan.out_w - w)
        outputs += rows * cols
        shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel_bytes + channel * size
        source, more, steps, there = (
            products + t * row_bytes_m,
            addend + shift * (addend != 0),
            (row_bytes, pixel_bytes),
            (rows, cols),
        )
        sums = _transform_products(
            *(source, plane_bytes, out + shift, more, steps, there, count, start, floor, plan.stream, sums),
            *(partial != 0, small, dt),
        )
        j += 1
        if j == plan.tiles_w:
            i, j = i + 1, 0
        if i == plan.tiles_h:
            image, i = image + 1, 0
    if partial != 0:
        store(partial + channel * size, sums[0], count, dt)
        store(partial + pixel_bytes + channel * size, sums[1], count, dt)
        store(partial + 2 * pixel_bytes + channel * size, sums[2], count, dt)
    return outputs


@device
def transform_outputs(products, row_bytes_m, finish, first, tiles, channel, plan, small, dt):
    """Transform one vector of output channels of a block of tiles into `out`; return how many outputs there are.

    Three copies of one loop: one that did everything would cost a fifth of the speed where nothing is asked for.
    """
    out, bias, addend, partial, floor = finish
    block = first, tiles
    if partial != 0:
        return _transform_all(products, row_bytes_m, (out, bias, 0, partial, floor), block, channel, plan, small, dt)
    if addend != 0:
        return _transform_all(products, row_bytes_m, (out, bias, addend, 0, floor), block, channel, plan, small, dt)
    return _transform_all(products, row_bytes_m, (out, bias, 0, 0, floor), block, channel, plan, small, dt)


@kernel
def combine_partial_statistics(begin, end, partials, counts, mean, var):
    """Mean and variance from those of the blocks, a vector of channels a task; Chan, Golub and LeVeque 1979."""
    parts, _, channels = partials.shape
    chunk = VECTOR_BYTES // 4
    for c in range(begin * chunk, min(end * chunk, channels)):
        centre = np.float64(partials[0, 0, c])  # all distances are from here
        origin, seen, total = centre, 0.0, 0.0
        centre = 0.0
        for part in range(parts):
            count = np.float64(counts[part])
            shift = np.float64(partials[part, 1, c]) / count
            block_mean = np.float64(partials[part, 0, c]) - origin + shift
            away = block_mean - centre
            seen += count
            centre += away * count / seen
            spread = np.float64(partials[part, 2, c]) - shift * shift * count
            total += spread + away * away * (seen - count) * count / seen
        mean[c], var[c] = origin + centre, (0.0 if total < 0.0 else total) / seen
