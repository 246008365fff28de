"""Winograd convolutions with 3x3 kernels whose outputs are activated and pooled while their tile is in registers.

`conv2d_winograd_pool`: activation and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.
`conv2d_winograd_pool_statistics`: and the mean and variance of what is written, taken as in output.py.

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
from ..statistics import combine_parts, part_arrays
from .blocks import Products, block_scratch, make_convolve_blocks, place_of
from .output import check_four, clear_checks, count_in, keep_check, keep_columns, store_sums
from .plan import plan_for
from .prefetch import NO_PART, PrefetchTargets
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, Planes, load_six, output_row, store_four
from .walk import make_walk
from .wide import make_convolve_wide
from .wide_transforms import half_outputs


@device
def _biased(y, bias):
    """Four outputs, before the activation."""
    return y[0] + bias, y[1] + bias, y[2] + bias, y[3] + bias


@device
def _activated_four(y, follows, dt):
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
    """Largest of four values, a window row by row, after the activation, and its place.

    The first of equals, NaN before all.
    """
    a, b, c, d = _activated_four(window, follows, dt)
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
    statistics: tuple  # empty, or the address of their sums, [block][3][output channel], and the outputs of each block


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


class OutputSums(NamedTuple):
    """The check, the sums of the statistics, and of how many outputs they are."""

    check: np.ndarray
    sums: tuple
    outputs: int


@device
def _check_with_sums(state, y, dt):
    return OutputSums(check_four(state.check, y, dt), state.sums, state.outputs)


@device
def _count_nothing(check, y):
    return check


@device
def _count_output(state, y):
    """Around the first pooled output: one that was not taken, next to the padding, may be far from all."""
    origin, total, squares = state.sums
    if state.outputs == 0:
        origin = y
    return OutputSums(state.check, count_in((origin, total, squares), y), state.outputs + 1)


def _make_store_window(count_output):
    @device
    def store_window(values, window, element, epilogue, state, dt):
        """Write the largest of four biased outputs, and its place; return the state with it."""
        _, follows, count, index = epilogue
        best, place = _largest(values, follows, dt)
        store(window.out + element * itemsize(dt), best, count, dt)
        vstore_index(window.places + element * itemsize(index), place, count, index)
        return count_output(state, best)

    return store_window


def _make_square(check_outputs, store_window):
    @device
    def pool_square(planes, kept, window, in_bounds, epilogue, state, dt):
        """Write the windows of a tile that lie in the pooled map, `in_bounds` rows and columns; return the state."""
        keep_columns(planes, kept, dt)
        for row in range(in_bounds[0]):
            upper, lower = _row(kept, 2 * row, dt), _row(kept, 2 * row + 1, dt)
            state = check_outputs(check_outputs(state, upper, dt), lower, dt)
            upper, lower = _biased(upper, epilogue.bias), _biased(lower, epilogue.bias)
            element = row * window.row
            state = store_window((upper[0], upper[1], lower[0], lower[1]), window, element, epilogue, state, dt)
            if in_bounds[1] > 1:
                element += window.pixel
                state = store_window((upper[2], upper[3], lower[2], lower[3]), window, element, epilogue, state, dt)
        return state

    return pool_square


def _make_wide(check_outputs, store_window):
    @device
    def pool_columns(kept, y, window, element, epilogue, state, dt):
        """Two windows, one above the other, of the column that was kept and the one right of it, `y`."""
        right = _biased(y, epilogue.bias)
        values = vload(kept, dt), right[0], vload(kept + VECTOR_BYTES, dt), right[1]
        state = store_window(values, window, element, epilogue, state, dt)
        values = vload(kept + 2 * VECTOR_BYTES, dt), right[2], vload(kept + 3 * VECTOR_BYTES, dt), right[3]
        return store_window(values, window, element + window.row, epilogue, state, dt)

    @device
    def check_all(state, y, dt):
        state = check_outputs(check_outputs(state, y[0], dt), y[1], dt)
        return check_outputs(check_outputs(state, y[2], dt), y[3], dt)

    @device
    def pool_wide(planes, kept, window, in_bounds, epilogue, state, dt):
        """As `pool_square` for a whole tile of 4x8: two rows of four windows."""
        epilogue = PoolEpilogue(epilogue.bias, epilogue.follows, lanes(dt), epilogue.index)  # known to be whole
        bias, pixel = epilogue.bias, window.pixel
        y = half_outputs(planes.address, planes.step, False, dt)
        state = check_all(state, y, dt)
        store_four(kept, VECTOR_BYTES, _biased(y[0], bias))
        store_four(kept + TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[1], bias))
        store_four(kept + 2 * TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[2], bias))
        store_four(kept + 3 * TILE * VECTOR_BYTES, VECTOR_BYTES, _biased(y[3], bias))
        y = half_outputs(planes.address, planes.step, True, dt)
        state = check_all(state, y, dt)
        state = pool_columns(kept, y[0], window, 0, epilogue, state, dt)
        state = pool_columns(kept + TILE * VECTOR_BYTES, y[1], window, pixel, epilogue, state, dt)
        state = pool_columns(kept + 2 * TILE * VECTOR_BYTES, y[2], window, 2 * pixel, epilogue, state, dt)
        return pool_columns(kept + 3 * TILE * VECTOR_BYTES, y[3], window, 3 * pixel, epilogue, state, dt)

    return pool_wide


class _PoolJob(NamedTuple):
    products: Products
    results: PoolResults
    epilogue: PoolEpilogue
    kept: int


@device
def _begin_check(products, results, epilogue, plan, dt):
    return vsplat(0, dt)


@device
def _end_check(check, products, results, epilogue, plan, dt):
    keep_check(results.checks + products.block * VECTOR_BYTES, check, epilogue.count, dt)


@device
def _begin_sums(products, results, epilogue, plan, dt):
    return OutputSums(vsplat(0, dt), (vsplat(0, dt), vsplat(0, dt), vsplat(0, dt)), 0)


@device
def _end_sums(state, products, results, epilogue, plan, dt):
    """Write those of a vector of channels of a block, whose tiles come at once."""
    _end_check(state.check, products, results, epilogue, plan, dt)
    partials, counts = results.statistics
    place = (products.block * 3 * plan.out_channels + products.channel) * itemsize(dt)
    store_sums(state.sums, partials + place, epilogue.count, plan, dt)
    if products.channel == 0:
        counts[products.block] = state.outputs


def _make_pool_outputs(shape, pool_tile, begin, end):
    """Make what activates and pools one vector of output channels of a block of tiles, from that of a tile.

    The state that it passes on comes from ``begin(products, results, epilogue, plan, dt)``, and goes to `end`.
    """
    rows, cols = shape[0] // 2, shape[1] // 2

    @device
    def pool_outputs_of_tile(tile, job, plan, state, dt):
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
            state = pool_tile(planes, kept, window, in_bounds, epilogue, state, dt)
        return state

    walk = make_walk(pool_outputs_of_tile)

    @device
    def pool_outputs(products, results, plan, dt):
        count = min(lanes(dt), plan.out_channels - products.channel)
        bias = vsplat(0, dt)
        if results.bias != 0:
            bias = vload_part(results.bias + products.channel * itemsize(dt), count, dt)
        epilogue = PoolEpilogue(bias, in_lanes(results.follows, dt), count, results.argmax.dtype)
        job = _PoolJob(products, results, epilogue, stack_vectors(HALF, dt))
        state = walk(products.first, products.tiles, job, plan, begin(products, results, epilogue, plan, dt), dt)
        end(state, products, results, epilogue, plan, dt)

    return pool_outputs


def _make_pool(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, epilogue, out, argmax, checks, plan):
        clear_checks(checks, begin, end)
        bias, follows = epilogue
        results = PoolResults(address(out), place_of(bias), follows, address(checks), argmax, ())
        wanted = PrefetchTargets(x, out, (NO_PART, NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, x, weights, results, wanted, plan)

    pool.__name__ = name
    return kernel(pool)


def _make_pool_statistics(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, epilogue, out, argmax, statistics, plan):
        checks, partials, counts = statistics
        clear_checks(checks, begin, end)
        bias, follows = epilogue
        sums = address(partials), counts
        results = PoolResults(address(out), place_of(bias), follows, address(checks), argmax, sums)
        wanted = PrefetchTargets(x, out, (NO_PART, NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, x, weights, results, wanted, plan)

    pool.__name__ = name
    return kernel(pool)


def _make_kernels(make, hooks, name):
    """Make the kernels by vectors and tile; `hooks` are those of a tile's checks and outputs, and of a block's."""
    check_outputs, count_output, begin, end = hooks
    store_window = _make_store_window(count_output)
    square = _make_pool_outputs(SQUARE, _make_square(check_outputs, store_window), begin, end)
    wide = _make_pool_outputs(WIDE, _make_wide(check_outputs, store_window), begin, end)
    return {
        (1, SQUARE): make(make_convolve_blocks(1, square), f"{name}_narrow"),
        (2, SQUARE): make(make_convolve_blocks(2, square), name),
        (2, WIDE): make(make_convolve_wide(wide), f"{name}_wide"),
    }


_POOL = _make_kernels(_make_pool, (check_four, _count_nothing, _begin_check, _end_check), "conv2d_winograd_pool")
conv2d_winograd_pool_narrow, conv2d_winograd_pool, conv2d_winograd_pool_wide = _POOL.values()
_POOL_STATISTICS = _make_kernels(
    _make_pool_statistics,
    (_check_with_sums, _count_output, _begin_sums, _end_sums),
    "conv2d_winograd_pool_statistics",
)
conv2d_winograd_pool_statistics_narrow, conv2d_winograd_pool_statistics = list(_POOL_STATISTICS.values())[:2]
conv2d_winograd_pool_statistics_wide = _POOL_STATISTICS[2, WIDE]


def convolve_pool(x, weight, epilogue, conv_shape, place, results, workspace, *, statistics=None):
    """Launch convolution, activation and 2x2 pooling to `results`, (out, argmax); `conv_shape` is the convolution's.

    `epilogue` is the bias and what `following` gives, `place` the padding before the first row and column; mean and
    variance of the pooled map go to `statistics`, if given. Return an array that is finite if the convolution's results
    are.
    """
    tile, (out, argmax) = weight.algorithm.tile, results
    plan = plan_for(weight.packed, x.shape, conv_shape, *place, tile)
    plan = plan._replace(stream=1)  # no line of it is asked for
    scratch = block_scratch(plan, workspace)
    checks = workspace.empty((plan.blocks, VECTOR_BYTES // 4), out.dtype)
    arguments = (x, weight.packed, epilogue, out, argmax)
    if statistics is None:
        launch(_POOL[plan.vectors, tile], plan.blocks, *arguments, checks, plan, scratch=scratch)
        return checks
    parts = part_arrays(plan, statistics, workspace)
    launch(_POOL_STATISTICS[plan.vectors, tile], plan.blocks, *arguments, (checks, *parts), plan, scratch=scratch)
    combine_parts(parts, out, statistics)
    return checks
