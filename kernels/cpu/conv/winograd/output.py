"""The second half of a Winograd convolution: products back to outputs, and what was asked for after them.

``y = activation(A^T M A + bias + addend)`` for tiles of 4x4 outputs (2x2 with a 5x5 kernel), cut at the edges of the
map, and for whole ones of 4x8. Mean and variance of each channel are taken while the outputs are still in registers:
for a block of tiles the distances from its first output and their squares, combined over blocks in float64 by the
formula of Chan, Golub and LeVeque (1979, Stanford STAN-CS-79-773).

Where there are no statistics to tell it, a vector for each task says whether all outputs were finite, before the
activation: else convolve.py has them computed again (overflow.py).
"""

from typing import NamedTuple

import numpy as np

from ...elementwise.following import activated, in_lanes, keep
from ...runtime.launch import device
from ...vector.bf16_storage import put_stored, stored_bytes
from ...vector.memory import load, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vfma, vload, vload_part, vsplat, vstore
from ...vector.stack import stack_vectors, unknown
from .blocks import Products
from .transforms import (
    HALF,
    PATCH,
    SMALL,
    SQUARE,
    TILE,
    WIDE,
    Planes,
    load_six,
    output_row,
    small_output_row,
    store_four,
)
from .walk import make_walk
from .wide_transforms import half_outputs, step_on


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
def _columns(planes, small, dt):
    """A^T M of a tile, column by column."""
    place, plane_bytes = planes
    step = PATCH * plane_bytes
    return (
        products_column(place, step, small, dt),
        products_column(place + plane_bytes, step, small, dt),
        products_column(place + 2 * plane_bytes, step, small, dt),
        products_column(place + 3 * plane_bytes, step, small, dt),
        products_column(place + 4 * plane_bytes, step, small, dt),
        products_column(place + 5 * plane_bytes, step, small, dt),
    )


@device
def keep_columns(planes, kept, dt):
    """Write A^T M of a tile, four rows of six values, to the stack."""
    place, plane_bytes = planes
    for _ in range(unknown(PATCH)):
        store_four(kept, PATCH * VECTOR_BYTES, products_column(place, PATCH * plane_bytes, False, dt))
        kept += VECTOR_BYTES
        place += plane_bytes


@device
def count_in(sums, y):
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
    """Add to what was found before; not the lanes after the channels, where products mean nothing."""
    store(place, load(place, count, dt) + check, count, dt)


@device
def clear_checks(checks, begin, end):
    """Zero a vector for each task from `begin` to `end` - 1."""
    for i in range(begin, end):
        vstore(address(checks) + i * VECTOR_BYTES, vsplat(0, checks.dtype))


class Target(NamedTuple):
    """Where outputs go and what they get on the way; an address is 0 where there is nothing."""

    out: np.ndarray
    bias: int
    addend: int
    follows: float  # or an activation, see following.py
    partial: int  # sums for the statistics of the block: [3][output channel]
    check: int  # the vector that tells whether all outputs are finite, where there are no statistics


class OutputCell(NamedTuple):
    """Addresses that belong to an output: in the output, and in the addend if there is one, else 0."""

    out: int
    addend: int


class Steps(NamedTuple):
    """Bytes from one output to the next in the addend: of a row below each other, and of a column."""

    row: int
    pixel: int


class OutputEpilogue(NamedTuple):
    """What each vector of outputs gets: ``activation(y + bias + addend)``, and the sums that are taken of it."""

    bias: np.ndarray  # a vector
    follows: np.ndarray  # a vector, or an activation
    counts: bool  # whether the sums are those of the statistics; else the second is a check
    count: int  # channels of the vector
    stream: int  # whether it goes past the caches
    storage: np.dtype  # the type of the output


@device
def _next_cell(cell, nbytes, storage, dt):
    """The cell `nbytes` of the addend further on."""
    return OutputCell(cell.out + stored_bytes(nbytes, storage, dt), cell.addend + (nbytes if cell.addend else 0))


@device
def _finish_four(y, cell, step, epilogue, sums, dt):
    """Bias, addition and activation for four outputs `step` bytes apart, which lie in the image; then store them."""
    bias, follows, counts, _, stream, storage = epilogue
    (target, addend), further = cell, stored_bytes(step, storage, dt)
    y0, y1, y2, y3 = y[0] + bias, y[1] + bias, y[2] + bias, y[3] + bias
    if addend != 0:
        y0 = y0 + vload(addend, dt)
        y1 = y1 + vload(addend + step, dt)
        y2 = y2 + vload(addend + 2 * step, dt)
        y3 = y3 + vload(addend + 3 * step, dt)
    if not counts:
        sums = sums[0], check_four(sums[1], (y0, y1, y2, y3), dt), sums[2]
    whole = lanes(dt)
    keep(target, y0, whole, stream, follows, storage, dt)
    keep(target + further, y1, whole, stream, follows, storage, dt)
    keep(target + 2 * further, y2, whole, stream, follows, storage, dt)
    keep(target + 3 * further, y3, whole, stream, follows, storage, dt)
    y0, y1 = activated(y0, follows, dt), activated(y1, follows, dt)
    y2, y3 = activated(y2, follows, dt), activated(y3, follows, dt)
    if counts:
        sums = count_in(count_in(count_in(count_in(sums, y0), y1), y2), y3)
    put_stored(target, y0, whole, stream, storage, dt)
    put_stored(target + further, y1, whole, stream, storage, dt)
    put_stored(target + 2 * further, y2, whole, stream, storage, dt)
    put_stored(target + 3 * further, y3, whole, stream, storage, dt)
    return sums


@device
def _transform_whole(planes, cell, steps, epilogue, sums, dt):
    """Y = A^T M A for a 4x4 tile that lies in the image and a whole vector of channels."""
    a, b, e, f, g, h = _columns(planes, False, dt)
    row, pixel = steps
    y = output_row(a[0], b[0], e[0], f[0], g[0], h[0], dt)
    sums = _finish_four(y, cell, pixel, epilogue, sums, dt)
    y, cell = output_row(a[1], b[1], e[1], f[1], g[1], h[1], dt), _next_cell(cell, row, epilogue.storage, dt)
    sums = _finish_four(y, cell, pixel, epilogue, sums, dt)
    y, cell = output_row(a[2], b[2], e[2], f[2], g[2], h[2], dt), _next_cell(cell, row, epilogue.storage, dt)
    sums = _finish_four(y, cell, pixel, epilogue, sums, dt)
    y, cell = output_row(a[3], b[3], e[3], f[3], g[3], h[3], dt), _next_cell(cell, row, epilogue.storage, dt)
    return _finish_four(y, cell, pixel, epilogue, sums, dt)


@device
def _finish_any(y, cell, epilogue, sums, dt):
    """As `_finish_four` for one output and the channels that there are."""
    bias, follows, counts, count, stream, storage = epilogue
    y = y + bias
    if cell.addend != 0:
        y = y + load(cell.addend, count, dt)
    if not counts:
        sums = sums[0], vfma(vsplat(0, dt), y, sums[1]), sums[2]
    keep(cell.out, y, count, stream, follows, storage, dt)
    y = activated(y, follows, dt)
    if counts:
        sums = count_in(sums, y)
    put_stored(cell.out, y, count, stream, storage, dt)
    return sums


@device
def _transform_any(planes, cell, steps, in_bounds, epilogue, sums, small, dt):
    """Y = A^T M A for any tile; `in_bounds` rows and columns of its outputs lie in the image."""
    place, plane_bytes = planes
    kept = stack_vectors(HALF, dt)
    column = kept
    for _ in range(unknown(PATCH)):
        values = products_column(place, PATCH * plane_bytes, small, dt)
        store_four(column, PATCH * VECTOR_BYTES, values)
        column += VECTOR_BYTES
        place += plane_bytes
    outputs = stack_vectors(TILE, dt)
    for _ in range(in_bounds[0]):
        store_four(outputs, VECTOR_BYTES, _row(*load_six(kept, dt), small, dt))
        for j in range(in_bounds[1]):
            y = vload(outputs + j * VECTOR_BYTES, dt)
            sums = _finish_any(y, _next_cell(cell, j * steps.pixel, epilogue.storage, dt), epilogue, sums, dt)
        kept += PATCH * VECTOR_BYTES
        cell = _next_cell(cell, steps.row, epilogue.storage, dt)
    return sums


@device
def _transform_square(planes, cell, steps, in_bounds, epilogue, sums, dt):
    """Y = A^T M A for a tile of F(4x4, 3x3)."""
    if in_bounds[0] == TILE and in_bounds[1] == TILE and epilogue.count == lanes(dt):
        return _transform_whole(planes, cell, steps, epilogue, sums, dt)
    return _transform_any(planes, cell, steps, in_bounds, epilogue, sums, False, dt)


@device
def _transform_small_whole(planes, cell, steps, epilogue, sums, dt):
    """Y = A^T M A for a 2x2 tile that lies in the image and a whole vector of channels."""
    storage = epilogue.storage
    a, b, e, f, g, h = _columns(planes, True, dt)
    y = small_output_row(a[0], b[0], e[0], f[0], g[0], h[0], dt)
    sums = _finish_any(y[0], cell, epilogue, sums, dt)
    sums = _finish_any(y[1], _next_cell(cell, steps.pixel, storage, dt), epilogue, sums, dt)
    y, cell = small_output_row(a[1], b[1], e[1], f[1], g[1], h[1], dt), _next_cell(cell, steps.row, storage, dt)
    sums = _finish_any(y[0], cell, epilogue, sums, dt)
    return _finish_any(y[1], _next_cell(cell, steps.pixel, storage, dt), epilogue, sums, dt)


@device
def _transform_small(planes, cell, steps, in_bounds, epilogue, sums, dt):
    """Y = A^T M A for a tile of F(2x2, 5x5)."""
    bias, follows, counts, count, stream, storage = epilogue
    if in_bounds[0] == SMALL[0] and in_bounds[1] == SMALL[1] and count == lanes(dt):
        whole = OutputEpilogue(bias, follows, counts, lanes(dt), stream, storage)
        return _transform_small_whole(planes, cell, steps, whole, sums, dt)
    return _transform_any(planes, cell, steps, in_bounds, epilogue, sums, True, dt)


@device
def _transform_half(planes, cell, steps, odd, epilogue, sums, dt):
    """Even or odd columns of a 4x8 tile, two pixels apart."""
    row, pixel = steps
    storage = epilogue.storage
    if odd:
        cell = _next_cell(cell, pixel, storage, dt)
    (target, addend), step = cell, 2 * pixel if cell.addend else 0
    further = stored_bytes(2 * pixel, storage, dt)
    y = half_outputs(planes.address, planes.step, odd, dt)
    sums = _finish_four(y[0], OutputCell(target, addend), row, epilogue, sums, dt)
    target, addend = step_on(target, further), addend + step
    sums = _finish_four(y[1], OutputCell(target, addend), row, epilogue, sums, dt)
    target, addend = step_on(target, further), addend + step
    sums = _finish_four(y[2], OutputCell(target, addend), row, epilogue, sums, dt)
    target, addend = step_on(target, further), addend + step
    return _finish_four(y[3], OutputCell(target, addend), row, epilogue, sums, dt)


@device
def _transform_wide(planes, cell, steps, in_bounds, epilogue, sums, dt):
    """Y = A^T M A for a whole tile of F(4x8, 3x3)."""
    sums = _transform_half(planes, cell, steps, False, epilogue, sums, dt)
    return _transform_half(planes, cell, steps, True, epilogue, sums, dt)


@device
def _first_output(place, plane_bytes, patch_w, start, dt):
    """The first output of a tile: around it the statistics of a block are taken."""
    total = start
    for i in range(PATCH - 1):
        for j in range(patch_w - 1):
            total = total + vload(place + (patch_w * i + j) * plane_bytes, dt)
    return total


@device
def _first_sums(products, partial, bias, count, plan, dt):
    """Where the sums of a vector of channels begin: at zero, or where they were left."""
    step, zero = plan.out_channels * itemsize(dt), vsplat(0, dt)
    if partial != 0 and products.fresh:
        return _first_output(products.address, plan.plane_m * itemsize(dt), plan.patch_w, bias, dt), zero, zero
    if partial != 0:
        return load(partial, count, dt), load(partial + step, count, dt), load(partial + 2 * step, count, dt)
    return zero, zero, zero


@device
def store_sums(sums, partial, count, plan, dt):
    """Write the sums of a vector of channels."""
    step = plan.out_channels * itemsize(dt)
    store(partial, sums[0], count, dt)
    store(partial + step, sums[1], count, dt)
    store(partial + 2 * step, sums[2], count, dt)


@device
def _keep_sums(sums, target, partial, count, plan, dt):
    """Keep the sums, or the check, of a vector of channels."""
    if partial != 0:
        store_sums(sums, partial, count, plan, dt)
    else:
        keep_check(target.check, sums[1], count, dt)


class _OutputJob(NamedTuple):
    products: Products
    out: int
    addend: int
    epilogue: OutputEpilogue


def _make_transform_outputs(shape, transform_tile):
    """Make the transform of some tiles of `shape`, rows and columns, from that of one."""
    tile_h, tile_w = shape

    @device
    def transform_outputs_of_tile(tile, job, plan, state, dt):
        products, out, addend, epilogue = job
        sums, outputs = state
        steps = Steps(plan.out_w * plan.out_channels * itemsize(dt), plan.out_channels * itemsize(dt))
        h, w = tile.i * tile_h, tile.j * tile_w
        rows, cols = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
        shift = ((tile.image * plan.out_h + h) * plan.out_w + w) * steps.pixel + products.channel * itemsize(dt)
        cell = OutputCell(out + stored_bytes(shift, epilogue.storage, dt), addend + shift * (addend != 0))
        planes = Planes(products.address + tile.number * products.row_bytes, plan.plane_m * itemsize(dt))
        return transform_tile(planes, cell, steps, (rows, cols), epilogue, sums, dt), outputs + rows * cols

    walk = make_walk(transform_outputs_of_tile)

    @device
    def transform_all(products, target, plan, dt):
        channel = products.channel * itemsize(dt)
        count = min(lanes(dt), plan.out_channels - products.channel)
        bias = vsplat(0, dt)
        if target.bias != 0:
            bias = vload_part(target.bias + channel, count, dt)
        partial = target.partial + channel if target.partial else 0
        sums = _first_sums(products, partial, bias, count, plan, dt)
        follows = in_lanes(target.follows, dt)
        epilogue = OutputEpilogue(bias, follows, target.partial != 0, count, plan.stream, target.out.dtype)
        job = _OutputJob(products, address(target.out), target.addend, epilogue)
        sums, outputs = walk(products.first, products.tiles, job, plan, (sums, 0), dt)
        _keep_sums(sums, target, partial, count, plan, dt)
        return outputs

    @device
    def transform_outputs(products, target, plan, dt):
        """Transform one vector of output channels of some tiles; return how many outputs there are.

        Three copies of one loop: one that did everything would cost a fifth of the speed where nothing is asked for.
        """
        out, bias, addend, follows, partial, check = target
        if partial != 0:
            return transform_all(products, Target(out, bias, 0, follows, partial, 0), plan, dt)
        if addend != 0:
            return transform_all(products, Target(out, bias, addend, follows, 0, check), plan, dt)
        return transform_all(products, Target(out, bias, 0, follows, 0, check), plan, dt)

    return transform_outputs


transform_outputs = _make_transform_outputs(SQUARE, _transform_square)
transform_outputs_5x5 = _make_transform_outputs(SMALL, _transform_small)
transform_outputs_wide = _make_transform_outputs(WIDE, _transform_wide)
