"""Winograd convolutions with 3x3 kernels whose outputs are activated and pooled while their tile is in registers.

`conv2d_winograd_pool`: activation and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.

x is (batch, in_h, in_w, in_channels), out and argmax (batch, out_h // 2, out_w // 2, out_channels). Otherwise it is
`conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from typing import NamedTuple

import numpy as np

from ...elementwise.following import activated, in_lanes
from ...runtime.launch import device, kernel, launch
from ...vector.memory import store
from ...vector.simd import (
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    vload,
    vload_part,
    vselect_max,
    vsplat,
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
def _biased(y, bias):
    """Four outputs, before the activation."""
    return y[0] + bias, y[1] + bias, y[2] + bias, y[3] + bias


@device
def _behind_activation(y, follows, dt):
    """Four outputs."""
    return (
        activated(y[0], follows, dt),
        activated(y[1], follows, dt),
        activated(y[2], follows, dt),
        activated(y[3], follows, dt),
    )


@device
def _row(kept, row, dt):
    """Four outputs of one row of the tile whose columns were kept."""
    return output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)


@device
def _largest(window, follows, dt):
    """Largest of four values, a window row by row, behind the activation, and its place.

    The first of equals, NaN before all.
    """
    a, b, c, d = _behind_activation(window, follows, dt)
    place, best = vselect_max(b, a, vsplat(1, dt), vsplat(0, dt)), vselect_max(b, a, b, a)
    place, best = vselect_max(c, best, vsplat(2, dt), place), vselect_max(c, best, c, best)
    return vselect_max(d, best, d, best), vselect_max(d, best, vsplat(3, dt), place)


class PoolResults(NamedTuple):
    """Where the pooled outputs and their places in the windows go; the bias is an address, or 0."""

    out: int
    bias: int
    follows: float  # or an activation, see following.py
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
    follows: np.ndarray  # a vector, or an activation, see following.py
    count: int  # channels of the vector
    index: np.dtype  # the type of the places


@device
def _store_window(values, window, element, epilogue, dt):
    """Write the largest of four biased outputs, and its place."""
    _, follows, count, index = epilogue
    best, place = _largest(values, follows, dt)
    store(window.out + element * itemsize(dt), best, count, dt)
    vstore_index(window.places + element * itemsize(index), place, count, index)


@device
def _pool_square(planes, kept, window, in_bounds, epilogue, check, dt):
    """Write the windows of a tile that lie in the pooled map, `in_bounds` rows and columns; return the check."""
    keep_columns(planes, kept, dt)
    for row in range(in_bounds[0]):
        upper, lower = _row(kept, 2 * row, dt), _row(kept, 2 * row + 1, dt)
        check = check_four(check_four(check, upper, dt), lower, dt)
        upper, lower = _biased(upper, epilogue.bias), _biased(lower, epilogue.bias)
        element = row * window.row
        _store_window((upper[0], upper[1], lower[0], lower[1]), window, element, epilogue, dt)
        if in_bounds[1] > 1:
            element += window.pixel
            _store_window((upper[2], upper[3], lower[2], lower[3]), window, element, epilogue, dt)
    return check


@device
def _pool_columns(kept, y, window, element, epilogue, dt):
    """Two windows, one above the other, of the column that was kept and the one right of it, `y`."""
    right = _biased(y, epilogue.bias)
    values = vload(kept, dt), right[0], vload(kept + VECTOR_BYTES, dt), right[1]
    _store_window(values, window, element, epilogue, dt)
    values = vload(kept + 2 * VECTOR_BYTES, dt), right[2], vload(kept + 3 * VECTOR_BYTES, dt), right[3]
    _store_window(values, window, element + window.row, epilogue, dt)


@device
def _pool_wide(planes, kept, window, in_bounds, epilogue, check, dt):
    """As `_pool_square` for a whole tile of 4x8: two rows of four windows."""
    epilogue = PoolEpilogue(epilogue.bias, epilogue.follows, lanes(dt), epilogue.index)  # known to be whole
    bias, pixel = epilogue.bias, window.pixel
    y = half_outputs(planes.address, planes.step, False, dt)
    check = check_four(check_four(check_four(check_four(check, y[0], dt), y[1], dt), y[2], dt), y[3], dt)
    store_four(kept, VECTOR_BYTES, _biased(y[0], bias))
    store_four(kept + TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[1], bias))
    store_four(kept + 2 * TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[2], bias))
    store_four(kept + 3 * TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[3], bias))
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
    """Make what activates and pools one vector of output channels of a block of tiles, from that of a tile."""
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
        epilogue = PoolEpilogue(bias, in_lanes(results.follows, dt), count, results.argmax.dtype)
        job = _PoolJob(products, results, epilogue, stack_vectors(HALF, dt))
        check = walk(products.first, products.tiles, job, plan, vsplat(0, dt), dt)
        keep_check(results.checks + products.block * VECTOR_BYTES, check, count, dt)

    return pool_outputs


def _make_pool(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, epilogue, out, argmax, checks, plan):
        clear_checks(checks, begin, end)
        bias, follows = epilogue
        results = PoolResults(address(out), place_of(bias), follows, address(checks), argmax)
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


def convolve_pool(x, weight, epilogue, conv_shape, place, results, workspace):
    """Launch convolution, activation and 2x2 pooling to `results`, (out, argmax); `conv_shape` is the convolution's.

    `epilogue` is the bias and what `following` gives, `place` the padding before the first row and column. Return an
    array that is finite if the convolution's results are.
    """
    tile, (out, argmax) = weight.algorithm.tile, results
    plan = plan_for(weight.packed, x.shape, conv_shape, *place, tile)
    plan = plan._replace(stream=1)  # no line of it is asked for
    scratch = block_scratch(plan, workspace)
    checks = workspace.empty((plan.blocks, VECTOR_BYTES // 4), out.dtype)
    arguments = (x, weight.packed, epilogue, out, argmax, checks, plan)
    launch(_POOL[plan.vectors, tile], plan.blocks, *arguments, scratch=scratch)
    return checks
