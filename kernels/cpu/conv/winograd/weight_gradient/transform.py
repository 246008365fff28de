"""The gradient's half of Winograd's gradient of the weight: tiles of the output's gradient to 36 planes, A g A^T.

Tiles of 4x4 for a 3x3 kernel, of 2x2 for a 5x5 one. Cells beyond an edge of the map count as zero; as in
winograd/transforms.py there is straight code for what lies inside, and for everything where there are masks.
"""

from typing import NamedTuple

from ....runtime.launch import device
from ....vector.bf16_storage import vload_part_stored, vload_stored
from ....vector.simd import VECTOR_BYTES, itemsize, lanes, vload, vsplat, vstore
from ....vector.stack import stack_vectors, unknown
from ..transforms import HALF, MASKS, PATCH, PLANES, TILE, Planes, gradient_row, small_gradient_row, store_six


@device
def _load_cell(place, in_bounds, count, stored, dt):
    """`count` channels of one cell, zero if it is not in the map."""
    if in_bounds and count == lanes(dt):
        return vload_stored(place, stored, dt)
    if in_bounds:
        return vload_part_stored(place, count, stored, dt)
    return vsplat(0, dt)


@device
def _whole_column(place, row_bytes, stored, dt):
    """A g for one column of a tile, a whole vector of channels."""
    return gradient_row(
        vload_stored(place, stored, dt),
        vload_stored(place + row_bytes, stored, dt),
        vload_stored(place + 2 * row_bytes, stored, dt),
        vload_stored(place + 3 * row_bytes, stored, dt),
        dt,
    )


@device
def _part_column(place, row_bytes, rows, count, stored, dt):
    """A g for one column of a tile, of which `rows` cells are in the map, `count` channels."""
    return gradient_row(
        _load_cell(place, True, count, stored, dt),
        _load_cell(place + row_bytes, rows > 1, count, stored, dt),
        _load_cell(place + 2 * row_bytes, rows > 2, count, stored, dt),
        _load_cell(place + 3 * row_bytes, rows > 3, count, stored, dt),
        dt,
    )


@device
def _masked_column(place, row_bytes, rows, count, stored, dt):
    """As `_part_column`, without branches; `count` is 0 for a column outside the map."""
    return gradient_row(
        vload_part_stored(place, count, stored, dt),
        vload_part_stored(place + row_bytes, count if rows > 1 else 0, stored, dt),
        vload_part_stored(place + 2 * row_bytes, count if rows > 2 else 0, stored, dt),
        vload_part_stored(place + 3 * row_bytes, count if rows > 3 else 0, stored, dt),
        dt,
    )


class GradientTile(NamedTuple):
    """A tile of the output's gradient: its first cell, the bytes to the next, and how much of it is in the map."""

    place: int
    row_bytes: int
    pixel_bytes: int
    rows: int
    cols: int


@device
def gradient_planes(gradients, tile, channel, plan, dt):
    """Where the planes of a tile and a vector of channels go: [plane][group][tile][channel of the group]."""
    group = plan.tile_vectors * lanes(dt)
    element = channel // group * plan.block_tiles * group + tile * group + channel % group
    return Planes(gradients + element * itemsize(dt), plan.plane_g * itemsize(dt))


@device
def clear_planes(planes, dt):
    """Zero a vector of all planes."""
    for plane in range(PLANES):
        vstore(planes.address + plane * planes.step, vsplat(0, dt))


@device
def store_tile(columns, planes, dt):
    """Transform the rows of A g, given by its four columns, and write the planes."""
    a, b, e, f = columns
    target, step = planes
    store_six(target, step, gradient_row(a[0], b[0], e[0], f[0], dt))
    store_six(target + 6 * step, step, gradient_row(a[1], b[1], e[1], f[1], dt))
    store_six(target + 12 * step, step, gradient_row(a[2], b[2], e[2], f[2], dt))
    store_six(target + 18 * step, step, gradient_row(a[3], b[3], e[3], f[3], dt))
    store_six(target + 24 * step, step, gradient_row(a[4], b[4], e[4], f[4], dt))
    store_six(target + 30 * step, step, gradient_row(a[5], b[5], e[5], f[5], dt))


@device
def _transform_whole(gradient, planes, stored, dt):
    """A g A^T of a tile that lies in the map, for a whole vector of channels."""
    place, row_bytes, pixel_bytes, _, _ = gradient
    a = _whole_column(place, row_bytes, stored, dt)
    b = _whole_column(place + pixel_bytes, row_bytes, stored, dt)
    e = _whole_column(place + 2 * pixel_bytes, row_bytes, stored, dt)
    f = _whole_column(place + 3 * pixel_bytes, row_bytes, stored, dt)
    store_tile((a, b, e, f), planes, dt)


@device
def _transform_masked(gradient, planes, count, stored, dt):
    """A g A^T of any tile as straight code: of cells outside the map, no lane is loaded."""
    place, row_bytes, pixel_bytes, rows, cols = gradient
    a = _masked_column(place, row_bytes, rows, count, stored, dt)
    b = _masked_column(place + pixel_bytes, row_bytes, rows, count if cols > 1 else 0, stored, dt)
    e = _masked_column(place + 2 * pixel_bytes, row_bytes, rows, count if cols > 2 else 0, stored, dt)
    f = _masked_column(place + 3 * pixel_bytes, row_bytes, rows, count if cols > 3 else 0, stored, dt)
    store_tile((a, b, e, f), planes, dt)


@device
def _transform_any(gradient, planes, count, stored, dt):
    """A g A^T of any tile, of which some rows and columns are in the map."""
    place, row_bytes, pixel_bytes, rows, cols = gradient
    target, step = planes
    kept = stack_vectors(HALF, dt)
    column = kept
    for j in range(unknown(TILE)):
        zero = vsplat(0, dt)
        values = zero, zero, zero, zero, zero, zero
        if j < cols:
            values = _part_column(place, row_bytes, rows, count, stored, dt)
        store_six(column, TILE * VECTOR_BYTES, values)
        column += VECTOR_BYTES
        place += pixel_bytes
    for _ in range(unknown(PATCH)):
        four = (
            vload(kept, dt),
            vload(kept + VECTOR_BYTES, dt),
            vload(kept + 2 * VECTOR_BYTES, dt),
            vload(kept + 3 * VECTOR_BYTES, dt),
        )
        store_six(target, step, gradient_row(*four, dt))
        kept += TILE * VECTOR_BYTES
        target += PATCH * step


@device
def transform_gradient(gradient, planes, count, stored, dt):
    """A g A^T of one tile and `count` channels."""
    if gradient.rows == TILE and gradient.cols == TILE and count == lanes(dt):
        _transform_whole(gradient, planes, stored, dt)
    elif MASKS:
        _transform_masked(gradient, planes, count, stored, dt)
    else:
        _transform_any(gradient, planes, count, stored, dt)


@device
def transform_small_gradient(gradient, planes, count, stored, dt):
    """A g A^T of one tile of 2x2 and `count` channels."""
    place, row_bytes, pixel_bytes, rows, cols = gradient
    target, step = planes
    below = place + row_bytes
    right, corner = _load_cell(place + pixel_bytes, cols > 1, count, stored, dt), cols > 1 and rows > 1
    left = _load_cell(place, True, count, stored, dt)
    a = small_gradient_row(left, _load_cell(below, rows > 1, count, stored, dt), dt)
    b = small_gradient_row(right, _load_cell(below + pixel_bytes, corner, count, stored, dt), dt)
    store_six(target, step, small_gradient_row(a[0], b[0], dt))
    store_six(target + 6 * step, step, small_gradient_row(a[1], b[1], dt))
    store_six(target + 12 * step, step, small_gradient_row(a[2], b[2], dt))
    store_six(target + 18 * step, step, small_gradient_row(a[3], b[3], dt))
    store_six(target + 24 * step, step, small_gradient_row(a[4], b[4], dt))
    store_six(target + 30 * step, step, small_gradient_row(a[5], b[5], dt))
