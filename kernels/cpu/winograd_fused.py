"""Winograd convolutions with 3x3 kernels whose outputs go through another layer while their tile is in registers.

`conv2d_winograd_pool`: rectifier and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.

`conv2d_winograd_masked`: the gradient of the input, then of the rectifier that the input came from, and its sum over
all pixels, the gradient of the bias before that rectifier: no pass that reads the gradient and writes it again.

Otherwise they are `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from .elementwise import load, store
from .launch import device, kernel, launch
from .reduce import add_in_float64
from .simd import (
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    vfloor,
    vload,
    vload_part,
    vselect_max,
    vselect_not_le,
    vsplat,
    vstore,
    vstore_index,
)
from .stack import stack_vectors, unknown
from .stored import load_stored, stored_bytes, vload_stored
from .winograd import block_scratch, place_of
from .winograd_ahead import NOTHING_BESIDE, beside
from .winograd_blocks import make_convolve_blocks
from .winograd_output import check_four, clear_checks, keep_check, products_column
from .winograd_plan import plan_for, winograd_plan
from .winograd_transforms import HALF, PATCH, SQUARE, TILE, WIDE, load_six, next_tile, output_row, store_four
from .winograd_wide import make_convolve_wide
from .winograd_wide_transforms import behind, half_outputs


@device
def keep_columns(place, plane_bytes, kept, dt):
    """Write A^T M of a tile, four rows of six values, to the stack."""
    for _ in range(unknown(PATCH)):
        store_four(kept, PATCH * VECTOR_BYTES, products_column(place, PATCH * plane_bytes, False, dt))
        kept += VECTOR_BYTES
        place += plane_bytes


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


@device
def _mask_four(g, target, mask, pixel_bytes, total, stored, dt):
    """Write four gradients, `pixel_bytes` apart in the image, where `mask` is positive (or NaN), zero elsewhere; sum.

    All of them without a mask (0).
    """
    zero = vsplat(0, dt)
    g0, g1, g2, g3 = g
    if mask != 0:
        step = stored_bytes(pixel_bytes, stored, dt)
        g0 = vselect_not_le(vload_stored(mask, stored, dt), zero, g0, zero)
        g1 = vselect_not_le(vload_stored(mask + step, stored, dt), zero, g1, zero)
        g2 = vselect_not_le(vload_stored(mask + 2 * step, stored, dt), zero, g2, zero)
        g3 = vselect_not_le(vload_stored(mask + 3 * step, stored, dt), zero, g3, zero)
    store_four(target, pixel_bytes, (g0, g1, g2, g3))
    return total + ((g0 + g1) + (g2 + g3))


@device
def _mask_cells(kept, row, target, mask, pixel_bytes, cols, count, total, stored, dt):
    """As `_mask_four` for the first `cols` cells of a row and `count` channels."""
    zero = vsplat(0, dt)
    values = stack_vectors(TILE, dt)
    store_four(values, VECTOR_BYTES, output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt))
    for j in range(cols):
        shift = j * pixel_bytes
        g = vload(values + j * VECTOR_BYTES, dt)
        if mask != 0:
            g = vselect_not_le(load_stored(mask + stored_bytes(shift, stored, dt), count, stored, dt), zero, g, zero)
        store(target + shift, g, count, dt)
        total = total + g
    return total


@device
def _mask_square(place, plane_bytes, kept, target, mask, steps, there, count, total, stored, dt):
    """Write and sum the gradients of a tile; `there` rows and columns of them lie in the image."""
    row_bytes, pixel_bytes = steps
    keep_columns(place, plane_bytes, kept, dt)
    for row in range(there[0]):
        if there[1] == TILE and count == lanes(dt):
            g = output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)
            total = _mask_four(g, target, mask, pixel_bytes, total, stored, dt)
        else:
            total = _mask_cells(kept, row, target, mask, pixel_bytes, there[1], count, total, stored, dt)
        target, mask = target + row_bytes, mask + (stored_bytes(row_bytes, stored, dt) if mask else 0)
    return total


@device
def _mask_half(place, plane_bytes, odd, target, mask, steps, total, stored, dt):
    """Even or odd columns of a wide tile."""
    row_bytes, pixel_bytes = steps
    y = half_outputs(place, plane_bytes, odd, dt)
    step, more = 2 * pixel_bytes, stored_bytes(2 * pixel_bytes, stored, dt) if mask else 0
    total = _mask_four(y[0], target, mask, row_bytes, total, stored, dt)
    target, mask = behind(target, step), mask + more
    total = _mask_four(y[1], target, mask, row_bytes, total, stored, dt)
    target, mask = behind(target, step), mask + more
    total = _mask_four(y[2], target, mask, row_bytes, total, stored, dt)
    target, mask = behind(target, step), mask + more
    return _mask_four(y[3], target, mask, row_bytes, total, stored, dt)


@device
def _mask_wide(place, plane_bytes, kept, target, mask, steps, there, count, total, stored, dt):
    """As `_mask_square` for a whole tile of 4x8."""
    total = _mask_half(place, plane_bytes, False, target, mask, steps, total, stored, dt)
    target, mask = target + steps[1], mask + (stored_bytes(steps[1], stored, dt) if mask else 0)
    return _mask_half(place, plane_bytes, True, target, mask, steps, total, stored, dt)


def _make_mask_outputs(tile, mask_tile):
    """Make what masks one vector of channels of some tiles, and sums them, from that of a tile."""
    tile_h, tile_w = tile

    @device
    def mask_outputs(products, row_bytes_m, finish, block, first, tiles, channel, fresh, plan, dt):
        """`finish` is (out, mask or 0, its type, sums)."""
        out, mask, stored, sums = finish
        size = itemsize(dt)
        count = min(lanes(dt), plan.out_channels - channel)
        pixel = plan.out_channels * size
        summed = sums + (block * plan.out_channels + channel) * size
        total = vsplat(0, dt) if fresh else load(summed, count, dt)
        kept = stack_vectors(HALF, dt)
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        for t in range(tiles):
            h, w = i * tile_h, j * tile_w
            there = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
            shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel + channel * size
            masked = mask + stored_bytes(shift, stored, dt) if mask else 0
            source = products + t * row_bytes_m, plan.plane_m * size, kept
            steps = plan.out_w * pixel, pixel
            total = mask_tile(*source, out + shift, masked, steps, there, count, total, stored, dt)
            image, i, j = next_tile(image, i, j, plan)
        store(summed, total, count, dt)

    return mask_outputs


def _make_pool(convolve_blocks, name):
    def pool(begin, end, scratch, x, weights, bias, out, argmax, checks, plan):
        clear_checks(checks, begin, end)
        finish = address(out), place_of(bias), address(checks), argmax
        others = NOTHING_BESIDE, NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

    pool.__name__ = name
    return kernel(pool)


def _make_masked(convolve_blocks, name):
    def masked(begin, end, scratch, x, weights, mask, out, sums, plan):
        finish = address(out), address(mask), mask.dtype, address(sums)
        others = beside(mask), NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

    masked.__name__ = name
    return kernel(masked)


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
mask_outputs = _make_mask_outputs(SQUARE, _mask_square)
_mask_wide_outputs = _make_mask_outputs(WIDE, _mask_wide)
conv2d_winograd_masked_narrow = _make_masked(make_convolve_blocks(1, mask_outputs), "conv2d_winograd_masked_narrow")
conv2d_winograd_masked = _make_masked(make_convolve_blocks(2, mask_outputs), "conv2d_winograd_masked")
conv2d_winograd_masked_wide = _make_masked(make_convolve_wide(_mask_wide_outputs), "conv2d_winograd_masked_wide")
_MASKED = {
    (1, SQUARE): conv2d_winograd_masked_narrow,
    (2, SQUARE): conv2d_winograd_masked,
    (2, WIDE): conv2d_winograd_masked_wide,
}


def suits(x_shape, out_shape, pad_top, pad_left, tile, fixed):
    """Tell whether a convolution has tiles, and tasks that transform their own."""
    plan = winograd_plan(x_shape, out_shape, pad_top, pad_left, tile, fixed)
    return plan.tiles > 0 and not plan.shared


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


def run_masked(grad, weights, mask, pad_top, pad_left, tile, out, grad_bias, workspace):
    """Launch the gradient of the input behind a rectifier whose result is `mask`; sum it to `grad_bias` unless None.

    Return an array that is finite if the gradient is.
    """
    plan = plan_for(weights, grad.shape, out.shape, pad_top, pad_left, tile)._replace(stream=0)
    sums = workspace.empty((plan.blocks, out.shape[3]), out.dtype)
    scratch = block_scratch(plan, workspace)
    launch(_MASKED[plan.vectors, tile], plan.blocks, grad, weights, mask, out, sums, plan, scratch=scratch)
    if grad_bias is not None:
        add_in_float64(sums, grad_bias, workspace)
    return sums
