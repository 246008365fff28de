"""Winograd convolutions with 3x3 kernels whose outputs are rectified and pooled while their tile is in registers.

`conv2d_winograd_pool`: rectifier and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.

Otherwise it is `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

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
from .blocks import block_scratch, make_convolve_blocks, place_of
from .output import check_four, clear_checks, keep_check, keep_columns
from .plan import plan_for
from .prefetch import NOTHING_BESIDE
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, load_six, next_tile, output_row, store_four
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


@device
def _pool_tile(kept, target, places, steps, there, count, start, check, index_dt, dt):
    """Write the windows of a tile that lie in the pooled map, `there` rows and columns; return the check with them."""
    row_elements, pixel_elements = steps
    size, index_size = itemsize(dt), itemsize(index_dt)
    for row in range(there[0]):
        upper, lower = _row(kept, 2 * row, dt), _row(kept, 2 * row + 1, dt)
        check = check_four(check_four(check, upper, dt), lower, dt)
        upper, lower = _rectified(upper, start, dt), _rectified(lower, start, dt)
        element = row * row_elements
        best, place = _largest(upper[0], upper[1], lower[0], lower[1], dt)
        store(target + element * size, best, count, dt)
        vstore_index(places + element * index_size, place, count, index_dt)
        if there[1] > 1:
            element += pixel_elements
            best, place = _largest(upper[2], upper[3], lower[2], lower[3], dt)
            store(target + element * size, best, count, dt)
            vstore_index(places + element * index_size, place, count, index_dt)
    return check


@device
def _pool_square(place, plane_bytes, kept, target, places, steps, there, count, start, check, index_dt, dt):
    """Write the windows of a tile of products; return the check with them."""
    keep_columns(place, plane_bytes, kept, dt)
    return _pool_tile(kept, target, places, steps, there, count, start, check, index_dt, dt)


@device
def _pool_window(a, b, c, d, element, target, places, index_dt, dt):
    best, place = _largest(a, b, c, d, dt)
    vstore(target + element * itemsize(dt), best)
    vstore_index(places + element * itemsize(index_dt), place, lanes(dt), index_dt)


@device
def _pool_columns(kept, y, element, row_elements, target, places, start, index_dt, dt):
    """Two windows, one above the other, of the column that was kept and the one right of it, `y`."""
    right = _rectified(y, start, dt)
    a, b = vload(kept, dt), vload(kept + VECTOR_BYTES, dt)
    _pool_window(a, right[0], b, right[1], element, target, places, index_dt, dt)
    a, b = vload(kept + 2 * VECTOR_BYTES, dt), vload(kept + 3 * VECTOR_BYTES, dt)
    _pool_window(a, right[2], b, right[3], element + row_elements, target, places, index_dt, dt)


@device
def _pool_wide(place, plane_bytes, kept, target, places, steps, there, count, start, check, index_dt, dt):
    """As `_pool_square` for a whole tile of 4x8: two rows of four windows."""
    row, pixel = steps
    y = half_outputs(place, plane_bytes, False, dt)
    check = check_four(check_four(check_four(check_four(check, y[0], dt), y[1], dt), y[2], dt), y[3], dt)
    store_four(kept, VECTOR_BYTES, _rectified(y[0], start, dt))
    store_four(kept + TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[1], start, dt))
    store_four(kept + 2 * TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[2], start, dt))
    store_four(kept + 3 * TILE * VECTOR_BYTES, VECTOR_BYTES, _rectified(y[3], start, dt))
    y = half_outputs(place, plane_bytes, True, dt)
    check = check_four(check_four(check_four(check_four(check, y[0], dt), y[1], dt), y[2], dt), y[3], dt)
    _pool_columns(kept, y[0], 0, row, target, places, start, index_dt, dt)
    _pool_columns(kept + TILE * VECTOR_BYTES, y[1], pixel, row, target, places, start, index_dt, dt)
    _pool_columns(kept + 2 * TILE * VECTOR_BYTES, y[2], 2 * pixel, row, target, places, start, index_dt, dt)
    _pool_columns(kept + 3 * TILE * VECTOR_BYTES, y[3], 3 * pixel, row, target, places, start, index_dt, dt)
    return check


def _make_pool_outputs(tile, pool_tile):
    """Make what rectifies and pools one vector of output channels of a block of tiles, from that of a tile."""
    rows, cols = tile[0] // 2, tile[1] // 2

    @device
    def pool_outputs(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt):
        out, bias, checks, argmax = finish
        check = vsplat(0, dt)
        index_dt = argmax.dtype
        count = min(lanes(dt), plan.out_channels - channel)
        start = vsplat(0, dt)
        if bias != 0:
            start = vload_part(bias + channel * itemsize(dt), count, dt)
        pooled_h, pooled_w = plan.out_h // 2, plan.out_w // 2
        steps = pooled_w * plan.out_channels, plan.out_channels
        kept = stack_vectors(HALF, dt)
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        for t in range(tiles):
            p, q = i * rows, j * cols
            there = min(rows, pooled_h - p), min(cols, pooled_w - q)
            if there[0] > 0 and there[1] > 0:
                element = ((image * pooled_h + p) * pooled_w + q) * plan.out_channels + channel
                places = out + element * itemsize(dt), address(argmax) + element * itemsize(index_dt)
                source = products + t * row_bytes, plan.plane_m * itemsize(dt), kept
                check = pool_tile(*source, *places, steps, there, count, start, check, index_dt, dt)
            image, i, j = next_tile(image, i, j, plan)
        keep_check(checks + block * VECTOR_BYTES, check, count, dt)

    return pool_outputs


def _make_pool(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, bias, out, argmax, checks, plan):
        clear_checks(checks, begin, end)
        finish = address(out), place_of(bias), address(checks), argmax
        others = NOTHING_BESIDE, NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

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


def run_pool(x, weights, bias, conv_shape, pad_top, pad_left, tile, out, argmax, workspace):
    """Launch convolution, rectifier and 2x2 pooling; `conv_shape` is that of the convolution's result.

    Return an array that is finite if the convolution's results are.
    """
    plan = plan_for(weights, x.shape, conv_shape, pad_top, pad_left, tile)
    plan = plan._replace(stream=1)  # no line of it is asked for
    scratch = block_scratch(plan, workspace)
    checks = workspace.empty((plan.blocks, VECTOR_BYTES // 4), out.dtype)
    launch(_POOL[plan.vectors, tile], plan.blocks, x, weights, bias, out, argmax, checks, plan, scratch=scratch)
    return checks
