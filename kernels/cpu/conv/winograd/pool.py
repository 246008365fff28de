"""Winograd convolutions with 3x3 kernels whose outputs are rectified and pooled while their tile is in registers.

`conv2d_winograd_pool`: rectifier and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.

x is (batch, in_h, in_w, in_channels), out and argmax (batch, out_h // 2, out_w // 2, out_channels). Otherwise it is
`conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from typing import NamedTuple

import numpy as np

from ...runtime.launch import device, kernel, launch
from ...vector.memory import store
from ...vector.simd import (
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    vfloor,
    vload,
    vload_part,
    vselect_max,
    vsplat,
    vstore,
    vstore_index,
)
from ...vector.stack import stack_vectors
from .blocks import Products, block_scratch, make_convolve_blocks, place_of
from .output import check_four, clear_checks, keep_check, keep_columns
from .plan import plan_for
from .prefetch import NO_PART, Wanted
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, Planes, load_six, output_row, store_four
from .walk import make_walk
from .wide import make_convolve_wide
from .wide_transforms import half_outputs


@device
def _rectified(y, start, dt):
    """Four rectified outputs."""
    zero = vsplat(0, dt)
    return (
        vfloor(y[0] + start, zero),
        vfloor(y[1] + start, zero),
        vfloor(y[2] + start, zero),
        vfloor(y[3] + start, zero),
    )


@device
def _row(kept, row, dt):
    """Four outputs of one row of the tile whose columns were kept."""
    return output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)


@device
def _largest(a, b, c, d, dt):
    """Largest of four values, a window row by row, and its place; the first of equals, NaN before all."""
    place, best = vselect_max(b, a, vsplat(1, dt), vsplat(0, dt)), vselect_max(b, a, b, a)
    place, best = vselect_max(c, best, vsplat(2, dt), place), vselect_max(c, best, c, best)
    return vselect_max(d, best, d, best), vselect_max(d, best, vsplat(3, dt), place)


class PoolResults(NamedTuple):
    """Where the pooled outputs and their places in the windows go; the bias is an address, or 0."""

    out: int
    bias: int
    checks: int
    argmax: np.ndarray


class Window(NamedTuple):
    """Where the first window of a tile goes: addresses, and elements from a window to the one below and right of it."""

    out: int
    places: int
    row: int
    pixel: int


class PoolEpilogue(NamedTuple):
    """What each vector of outputs gets."""

    bias: np.ndarray  # a vector
    count: int  # channels of the vector
    index: np.dtype  # the type of the places


@device
def _store_window(largest, window, element, epilogue, dt):
    """Write the largest output of a window, and its place."""
    best, place = largest
    store(window.out + element * itemsize(dt), best, epilogue.count, dt)
    vstore_index(window.places + element * itemsize(epilogue.index), place, epilogue.count, epilogue.index)


@device
def _pool_square(planes, kept, window, in_bounds, epilogue, check, dt):
    """Write the windows of a tile that lie in the pooled map, `in_bounds` rows and columns; return the check."""
    keep_columns(planes, kept, dt)
    for row in range(in_bounds[0]):
        upper, lower = _row(kept, 2 * row, dt), _row(kept, 2 * row + 1, dt)
        check = check_four(check_four(check, upper, dt), lower, dt)
        upper, lower = _rectified(upper, epilogue.bias, dt), _rectified(lower, epilogue.bias, dt)
        element = row * window.row
        _store_window(_largest(upper[0], upper[1], lower[0], lower[1], dt), window, element, epilogue, dt)
        if in_bounds[1] > 1:
            element += window.pixel
            _store_window(_largest(upper[2], upper[3], lower[2], lower[3], dt), window, element, epilogue, dt)
    return check


@device
def _store_whole_window(largest, window, element, index, dt):
    best, place = largest
    vstore(window.out + element * itemsize(dt), best)
    vstore_index(window.places + element * itemsize(index), place, lanes(dt), index)


@device
def _pool_columns(kept, y, window, element, epilogue, dt):
    """Two windows, one above the other, of the column that was kept and the one right of it, `y`."""
    right, index = _rectified(y, epilogue.bias, dt), epilogue.index
    a, b = vload(kept, dt), vload(kept + VECTOR_BYTES, dt)
    _store_whole_window(_largest(a, right[0], b, right[1], dt), window, element, index, dt)
    a, b = vload(kept + 2 * VECTOR_BYTES, dt), vload(kept + 3 * VECTOR_BYTES, dt)
    _store_whole_window(_largest(a, right[2], b, right[3], dt), window, element + window.row, index, dt)


@device
def _pool_wide(planes, kept, window, in_bounds, epilogue, check, dt):
    """As `_pool_square` for a whole tile of 4x8: two rows of four windows."""
    bias, pixel = epilogue.bias, window.pixel
    y = half_outputs(planes.address, planes.step, False, dt)
    check = check_four(check_four(check_four(check_four(check, y[0], dt), y[1], dt), y[2], dt), y[3], dt)
    store_four(kept, VECTOR_BYTES, _rectified(y[0], bias, dt))
    store_four(kept + TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[1], bias, dt))
    store_four(kept + 2 * TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[2], bias, dt))
    store_four(kept + 3 * TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[3], bias, dt))
    y = half_outputs(planes.address, planes.step, True, dt)
    check = check_four(check_four(check_four(check_four(check, y[0], dt), y[1], dt), y[2], dt), y[3], dt)
    _pool_columns(kept, y[0], window, 0, epilogue, dt)
    _pool_columns(kept + TILE * VECTOR_BYTES, y[1], window, pixel, epilogue, dt)
    _pool_columns(kept + 2 * TILE * VECTOR_BYTES, y[2], window, 2 * pixel, epilogue, dt)
    _pool_columns(kept + 3 * TILE * VECTOR_BYTES, y[3], window, 3 * pixel, epilogue, dt)
    return check


class _PoolJob(NamedTuple):
    products: Products
    results: PoolResults
    epilogue: PoolEpilogue
    kept: int


def _make_pool_outputs(shape, pool_tile):
    """Make what rectifies and pools one vector of output channels of a block of tiles, from that of a tile."""
    rows, cols = shape[0] // 2, shape[1] // 2

    @device
    def pool_outputs_of_tile(tile, job, plan, check, dt):
        products, results, epilogue, kept = job
        pooled_h, pooled_w = plan.out_h // 2, plan.out_w // 2
        p, q = tile.i * rows, tile.j * cols
        in_bounds = min(rows, pooled_h - p), min(cols, pooled_w - q)
        if in_bounds[0] > 0 and in_bounds[1] > 0:
            element = ((tile.image * pooled_h + p) * pooled_w + q) * plan.out_channels + products.channel
            places = address(results.argmax) + element * itemsize(epilogue.index)
            steps = pooled_w * plan.out_channels, plan.out_channels
            window = Window(results.out + element * itemsize(dt), places, steps[0], steps[1])
            planes = Planes(products.address + tile.number * products.row_bytes, plan.plane_m * itemsize(dt))
            check = pool_tile(planes, kept, window, in_bounds, epilogue, check, dt)
        return check

    walk = make_walk(pool_outputs_of_tile)

    @device
    def pool_outputs(products, results, plan, dt):
        count = min(lanes(dt), plan.out_channels - products.channel)
        bias = vsplat(0, dt)
        if results.bias != 0:
            bias = vload_part(results.bias + products.channel * itemsize(dt), count, dt)
        epilogue = PoolEpilogue(bias, count, results.argmax.dtype)
        job = _PoolJob(products, results, epilogue, stack_vectors(HALF, dt))
        check = walk(products.first, products.tiles, job, plan, vsplat(0, dt), dt)
        keep_check(results.checks + products.block * VECTOR_BYTES, check, count, dt)

    return pool_outputs


def _make_pool(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, bias, out, argmax, checks, plan):
        clear_checks(checks, begin, end)
        results = PoolResults(address(out), place_of(bias), address(checks), argmax)
        wanted = Wanted(x, out, (NO_PART, NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, x, weights, results, wanted, plan)

    pool.__name__ = name
    return kernel(pool)


_pool_square_outputs = _make_pool_outputs(SQUARE, _pool_square)
_pool_wide_outputs = _make_pool_outputs(WIDE, _pool_wide)
conv2d_winograd_pool_narrow = _make_pool(make_convolve_blocks(1, _pool_square_outputs), "conv2d_winograd_pool_narrow")
conv2d_winograd_pool = _make_pool(make_convolve_blocks(2, _pool_square_outputs), "conv2d_winograd_pool")
conv2d_winograd_pool_wide = _make_pool(make_convolve_wide(_pool_wide_outputs), "conv2d_winograd_pool_wide")
_POOL = {  # by vectors, tile
    (1, SQUARE): conv2d_winograd_pool_narrow,
    (2, SQUARE): conv2d_winograd_pool,
    (2, WIDE): conv2d_winograd_pool_wide,
}


def convolve_pool(x, weight, bias, conv_shape, place, results, workspace):
    """Launch convolution, rectifier and 2x2 pooling to `results`, (out, argmax); `conv_shape` is the convolution's.

    `place` is the padding before the first row and column. Return an array that is finite if the convolution's results
    are.
    """
    tile, (out, argmax) = weight.algorithm.tile, results
    plan = plan_for(weight.packed, x.shape, conv_shape, *place, tile)
    plan = plan._replace(stream=1)  # no line of it is asked for
    scratch = block_scratch(plan, workspace)
    checks = workspace.empty((plan.blocks, VECTOR_BYTES // 4), out.dtype)
    arguments = (x, weight.packed, bias, out, argmax, checks, plan)
    launch(_POOL[plan.vectors, tile], plan.blocks, *arguments, scratch=scratch)
    return checks
