"""The second half of a Winograd convolution: products back to outputs, and what was asked for behind them.

``y = max(A^T M A + bias + addend, floor)`` for tiles of 4x4 outputs (2x2 with a 5x5 kernel), cut at the edges of the
map, and for whole ones of 4x8. Mean and variance of each channel are taken while the outputs are still in registers:
for a block of tiles the distances from its first output and their squares, combined over blocks in float64 by the
formula of Chan, Golub and LeVeque (1979, Stanford STAN-CS-79-773).

Where there are no statistics to tell it, a vector for each task says whether all outputs were finite, before the
rectifier: else conv2d.py computes them another way.
"""

from ...runtime.launch import device
from ...vector.bf16_storage import put_stored, stored_bytes
from ...vector.memory import load, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vfloor, vfma, vload, vload_part, vsplat, vstore
from ...vector.stack import stack_vectors, unknown
from .transforms import (
    HALF,
    PATCH,
    SMALL,
    SQUARE,
    TILE,
    WIDE,
    load_six,
    next_tile,
    output_row,
    small_output_row,
    store_four,
)
from .wide_transforms import behind, half_outputs


@device
def _row(m0, m1, m2, m3, m4, m5, small, dt):
    if small:
        return small_output_row(m0, m1, m2, m3, m4, m5, dt)
    return output_row(m0, m1, m2, m3, m4, m5, dt)


@device
def products_column(place, step, small, dt):
    """A^T m for the column of products at `place`, whose elements are `step` bytes apart."""
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
def keep_columns(place, plane_bytes, kept, dt):
    """Write A^T M of a tile, four rows of six values, to the stack."""
    for _ in range(unknown(PATCH)):
        store_four(kept, PATCH * VECTOR_BYTES, products_column(place, PATCH * plane_bytes, False, dt))
        kept += VECTOR_BYTES
        place += plane_bytes


@device
def _count_in(sums, y):
    """Add an output to the statistics: its distance from the origin and the square of that."""
    origin, total, squares = sums
    away = y - origin
    return origin, total + away, vfma(away, away, squares)


@device
def check_four(check, y, dt):
    """Add four outputs times zero: NaN for what is not finite."""
    return vfma(vsplat(0, dt), (y[0] + y[1]) + (y[2] + y[3]), check)


@device
def keep_check(place, check, count, dt):
    """Add to what was found before; not the lanes behind the channels, where products mean nothing."""
    store(place, load(place, count, dt) + check, count, dt)


@device
def clear_checks(checks, begin, end):
    """Zero a vector for each task from `begin` to `end` - 1."""
    for i in range(begin, end):
        vstore(address(checks) + i * VECTOR_BYTES, vsplat(0, checks.dtype))


@device
def _finish_row(y, target, addend, pixel_bytes, start, floor, stream, sums, counts, stored, dt):
    """Bias, addition and rectifier for four outputs `pixel_bytes` apart, which lie in the image; then store them.

    `sums` are the statistics if it `counts`; else the second of them is a check of the outputs.
    """
    y0, y1, y2, y3 = y[0] + start, y[1] + start, y[2] + start, y[3] + start
    if addend != 0:
        y0 = y0 + vload(addend, dt)
        y1 = y1 + vload(addend + pixel_bytes, dt)
        y2 = y2 + vload(addend + 2 * pixel_bytes, dt)
        y3 = y3 + vload(addend + 3 * pixel_bytes, dt)
    if not counts:
        sums = sums[0], check_four(sums[1], (y0, y1, y2, y3), dt), sums[2]
    y0, y1, y2, y3 = vfloor(y0, floor), vfloor(y1, floor), vfloor(y2, floor), vfloor(y3, floor)
    if counts:
        sums = _count_in(_count_in(_count_in(_count_in(sums, y0), y1), y2), y3)
    whole, step = lanes(dt), stored_bytes(pixel_bytes, stored, dt)
    put_stored(target, y0, whole, stream, stored, dt)
    put_stored(target + step, y1, whole, stream, stored, dt)
    put_stored(target + 2 * step, y2, whole, stream, stored, dt)
    put_stored(target + 3 * step, y3, whole, stream, stored, dt)
    return sums


@device
def _transform_whole(place, plane_bytes, target, addend, steps, start, floor, stream, sums, counts, stored, dt):
    """Y = A^T M A for a 4x4 tile that lies in the image and a whole vector of channels."""
    step = PATCH * plane_bytes
    row_bytes, pixel_bytes = steps
    a = products_column(place, step, False, dt)
    b = products_column(place + plane_bytes, step, False, dt)
    e = products_column(place + 2 * plane_bytes, step, False, dt)
    f = products_column(place + 3 * plane_bytes, step, False, dt)
    g = products_column(place + 4 * plane_bytes, step, False, dt)
    h = products_column(place + 5 * plane_bytes, step, False, dt)
    more, further = row_bytes if addend else 0, stored_bytes(row_bytes, stored, dt)
    y = output_row(a[0], b[0], e[0], f[0], g[0], h[0], dt)
    sums = _finish_row(y, target, addend, pixel_bytes, start, floor, stream, sums, counts, stored, dt)
    y, target, addend = output_row(a[1], b[1], e[1], f[1], g[1], h[1], dt), target + further, addend + more
    sums = _finish_row(y, target, addend, pixel_bytes, start, floor, stream, sums, counts, stored, dt)
    y, target, addend = output_row(a[2], b[2], e[2], f[2], g[2], h[2], dt), target + further, addend + more
    sums = _finish_row(y, target, addend, pixel_bytes, start, floor, stream, sums, counts, stored, dt)
    y, target, addend = output_row(a[3], b[3], e[3], f[3], g[3], h[3], dt), target + further, addend + more
    return _finish_row(y, target, addend, pixel_bytes, start, floor, stream, sums, counts, stored, dt)


@device
def _transform_any(
    place, plane_bytes, target, addend, steps, there, count, start, floor, stream, sums, counts, small, stored, dt
):
    """Y = A^T M A for any tile; `there` rows and columns of its outputs lie in the image."""
    row_bytes, pixel_bytes = steps
    kept = stack_vectors(HALF, dt)
    column = kept
    for _ in range(unknown(PATCH)):
        values = products_column(place, PATCH * plane_bytes, small, dt)
        store_four(column, PATCH * VECTOR_BYTES, values)
        column += VECTOR_BYTES
        place += plane_bytes
    outputs = stack_vectors(TILE, dt)
    for _ in range(there[0]):
        store_four(outputs, VECTOR_BYTES, _row(*load_six(kept, dt), small, dt))
        for j in range(there[1]):
            y = vload(outputs + j * VECTOR_BYTES, dt) + start
            if addend != 0:
                y = y + load(addend + j * pixel_bytes, count, dt)
            if not counts:
                sums = sums[0], vfma(vsplat(0, dt), y, sums[1]), sums[2]
            y = vfloor(y, floor)
            if counts:
                sums = _count_in(sums, y)
            put_stored(target + stored_bytes(j * pixel_bytes, stored, dt), y, count, stream, stored, dt)
        kept += PATCH * VECTOR_BYTES
        target += stored_bytes(row_bytes, stored, dt)
        addend += row_bytes if addend else 0
    return sums


@device
def _transform_square(
    place, plane_bytes, target, addend, steps, there, count, start, floor, stream, sums, counts, stored, dt
):
    """Y = A^T M A for a tile of F(4x4, 3x3)."""
    if there[0] == TILE and there[1] == TILE and count == lanes(dt):
        return _transform_whole(
            place, plane_bytes, target, addend, steps, start, floor, stream, sums, counts, stored, dt
        )
    more = there, count, start, floor, stream, sums, counts
    return _transform_any(place, plane_bytes, target, addend, steps, *more, False, stored, dt)


@device
def _transform_small(
    place, plane_bytes, target, addend, steps, there, count, start, floor, stream, sums, counts, stored, dt
):
    """Y = A^T M A for a tile of F(2x2, 5x5)."""
    more = there, count, start, floor, stream, sums, counts
    return _transform_any(place, plane_bytes, target, addend, steps, *more, True, stored, dt)


@device
def _transform_half(place, plane_bytes, target, addend, steps, odd, start, floor, stream, sums, counts, stored, dt):
    """Even or odd columns of a 4x8 tile, two pixels apart."""
    row_bytes, pixel_bytes = steps
    if odd:
        target, addend = target + stored_bytes(pixel_bytes, stored, dt), addend + (pixel_bytes if addend else 0)
    more, further = 2 * pixel_bytes if addend else 0, stored_bytes(2 * pixel_bytes, stored, dt)
    y = half_outputs(place, plane_bytes, odd, dt)
    sums = _finish_row(y[0], target, addend, row_bytes, start, floor, stream, sums, counts, stored, dt)
    target, addend = behind(target, further), addend + more
    sums = _finish_row(y[1], target, addend, row_bytes, start, floor, stream, sums, counts, stored, dt)
    target, addend = behind(target, further), addend + more
    sums = _finish_row(y[2], target, addend, row_bytes, start, floor, stream, sums, counts, stored, dt)
    target, addend = behind(target, further), addend + more
    return _finish_row(y[3], target, addend, row_bytes, start, floor, stream, sums, counts, stored, dt)


@device
def _transform_wide(
    place, plane_bytes, target, addend, steps, there, count, start, floor, stream, sums, counts, stored, dt
):
    """Y = A^T M A for a whole tile of F(4x8, 3x3)."""
    more, types = (start, floor, stream), (counts, stored, dt)
    sums = _transform_half(place, plane_bytes, target, addend, steps, False, *more, sums, *types)
    return _transform_half(place, plane_bytes, target, addend, steps, True, *more, sums, *types)


@device
def _first_output(place, plane_bytes, patch_w, start, dt):
    """The first output of a tile: around it the statistics of a block are taken."""
    total = start
    for i in range(PATCH - 1):
        for j in range(patch_w - 1):
            total = total + vload(place + (patch_w * i + j) * plane_bytes, dt)
    return total


def _make_transform_outputs(tile, transform_tile):
    """Make the transform of some tiles, rows and columns of `tile`, from that of one."""
    tile_h, tile_w = tile

    @device
    def transform_all(products, row_bytes_m, finish, block, channel, plan, dt):
        size = itemsize(dt)
        first, tiles, fresh = block
        out, bias, addend, partial, check, floor_value = finish
        stored = out.dtype
        floor = vsplat(floor_value, dt)
        count = min(lanes(dt), plan.out_channels - channel)
        start = vsplat(0, dt)
        if bias != 0:
            start = vload_part(bias + channel * size, count, dt)
        pixel_bytes = plan.out_channels * size
        row_bytes = plan.out_w * pixel_bytes
        plane_bytes = plan.plane_m * size
        sums = vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)
        kept = partial + channel * size
        if partial != 0 and fresh:
            sums = _first_output(products, plane_bytes, plan.patch_w, start, dt), sums[1], sums[2]
        elif partial != 0:
            sums = load(kept, count, dt), load(kept + pixel_bytes, count, dt), load(kept + 2 * pixel_bytes, count, dt)
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        outputs = 0
        for t in range(tiles):
            h, w = i * tile_h, j * tile_w
            rows, cols = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
            outputs += rows * cols
            shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel_bytes + channel * size
            source, more, steps = products + t * row_bytes_m, addend + shift * (addend != 0), (row_bytes, pixel_bytes)
            target = address(out) + stored_bytes(shift, stored, dt)
            sums = transform_tile(
                *(source, plane_bytes, target, more, steps, (rows, cols), count, start, floor, plan.stream, sums),
                *(partial != 0, stored, dt),
            )
            image, i, j = next_tile(image, i, j, plan)
        if partial != 0:
            store(kept, sums[0], count, dt)
            store(kept + pixel_bytes, sums[1], count, dt)
            store(kept + 2 * pixel_bytes, sums[2], count, dt)
        else:
            keep_check(check, sums[1], count, dt)
        return outputs

    @device
    def transform_outputs(products, row_bytes_m, finish, first, tiles, channel, fresh, plan, dt):
        """Transform one vector of output channels of some tiles into `out`; return how many outputs there are.

        They are the first ones of their block if `fresh`; else what was summed of it goes on.

        Three copies of one loop: one that did everything would cost a fifth of the speed where nothing is asked for.
        """
        out, bias, addend, partial, check, floor = finish
        block = first, tiles, fresh
        if partial != 0:
            return transform_all(products, row_bytes_m, (out, bias, 0, partial, 0, floor), block, channel, plan, dt)
        if addend != 0:
            return transform_all(products, row_bytes_m, (out, bias, addend, 0, check, floor), block, channel, plan, dt)
        return transform_all(products, row_bytes_m, (out, bias, 0, 0, check, floor), block, channel, plan, dt)

    return transform_outputs


transform_outputs = _make_transform_outputs(SQUARE, _transform_square)
transform_outputs_5x5 = _make_transform_outputs(SMALL, _transform_small)
transform_outputs_wide = _make_transform_outputs(WIDE, _transform_wide)
