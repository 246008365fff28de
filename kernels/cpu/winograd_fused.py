"""Winograd convolutions F(4x4, 3x3) whose outputs go through another layer while their tile is in registers.

`conv2d_winograd_pool`: rectifier and 2x2 max pooling. A tile of 4x4 outputs is four windows, so only the largest of
each, and its place, are written: a quarter of the output, and there is no pass over it afterwards.

`conv2d_winograd_masked`: the gradient of the input, then of the rectifier that the input came from, and its sum over
all pixels, the gradient of the bias before that rectifier: no pass that reads the gradient and writes it again.

Otherwise they are `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from .conv2d_weight import sum_in_order
from .elementwise import load, store
from .launch import device, kernel, launch
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
    vstore_index,
)
from .stack import stack_vectors, unknown
from .stored import load_stored, stored_bytes, vload_stored
from .winograd import block_scratch, make_convolve_blocks, place_of
from .winograd_ahead import NOTHING_BESIDE, beside
from .winograd_output import products_column
from .winograd_plan import plan_for, winograd_plan
from .winograd_transforms import HALF, PATCH, TILE, load_six, next_tile, output_row, store_four

_HALF_TILE = TILE // 2


@device
def keep_columns(place, plane_bytes, kept, dt):
    """Write A^T M of a tile, four rows of six values, to the stack."""
    for _ in range(unknown(PATCH)):
        store_four(kept, PATCH * VECTOR_BYTES, products_column(place, PATCH * plane_bytes, False, dt))
        kept += VECTOR_BYTES
        place += plane_bytes


@device
def _rectified_row(kept, row, start, dt):
    """Four rectified outputs of one row of the tile whose columns were kept."""
    y = output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)
    zero = vsplat(0, dt)
    return (
        vfloor(y[0] + start, zero),
        vfloor(y[1] + start, zero),
        vfloor(y[2] + start, zero),
        vfloor(y[3] + start, zero),
    )


@device
def _largest(a, b, c, d, dt):
    """Largest of four values, a window row by row, and its place; the first of equals, NaN before all."""
    place, best = vselect_max(b, a, vsplat(1, dt), vsplat(0, dt)), vselect_max(b, a, b, a)
    place, best = vselect_max(c, best, vsplat(2, dt), place), vselect_max(c, best, c, best)
    return vselect_max(d, best, d, best), vselect_max(d, best, vsplat(3, dt), place)


@device
def _pool_tile(kept, target, places, steps, there, count, start, index_dt, dt):
    """Write the windows of a tile that lie in the pooled map, `there` rows and columns of them."""
    row_elements, pixel_elements = steps
    size, index_size = itemsize(dt), itemsize(index_dt)
    for row in range(there[0]):
        upper, lower = _rectified_row(kept, 2 * row, start, dt), _rectified_row(kept, 2 * row + 1, start, dt)
        element = row * row_elements
        best, place = _largest(upper[0], upper[1], lower[0], lower[1], dt)
        store(target + element * size, best, count, dt)
        vstore_index(places + element * index_size, place, count, index_dt)
        if there[1] > 1:
            element += pixel_elements
            best, place = _largest(upper[2], upper[3], lower[2], lower[3], dt)
            store(target + element * size, best, count, dt)
            vstore_index(places + element * index_size, place, count, index_dt)


@device
def _pool_outputs(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt):
    """Rectify and pool one vector of output channels of a block of tiles."""
    out, bias, argmax = finish
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
        p, q = i * _HALF_TILE, j * _HALF_TILE
        there = min(_HALF_TILE, pooled_h - p), min(_HALF_TILE, pooled_w - q)
        if there[0] > 0 and there[1] > 0:
            keep_columns(products + t * row_bytes, plan.rows * row_bytes, kept, dt)
            element = ((image * pooled_h + p) * pooled_w + q) * plan.out_channels + channel
            target, places = out + element * itemsize(dt), address(argmax) + element * itemsize(argmax.dtype)
            _pool_tile(kept, target, places, steps, there, count, start, argmax.dtype, dt)
        image, i, j = next_tile(image, i, j, plan)


@device
def _mask_row(kept, row, target, mask, pixel_bytes, total, stored, dt):
    """Write four gradients of a row that lies in the image where `mask` is positive (or NaN), zero elsewhere; sum.

    All of them without a mask (0).
    """
    zero = vsplat(0, dt)
    g0, g1, g2, g3 = output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)
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
    """As `_mask_row` for the first `cols` cells and `count` channels."""
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
def mask_outputs(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt):
    """Mask one vector of channels of some tiles, and sum them; `finish` is (out, mask or 0, its type, sums)."""
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
        h, w = i * TILE, j * TILE
        rows, cols = min(TILE, plan.out_h - h), min(TILE, plan.out_w - w)
        shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel + channel * size
        keep_columns(products + t * row_bytes, plan.rows * row_bytes, kept, dt)
        for row in range(rows):
            there = mask + stored_bytes(shift, stored, dt) * (mask != 0)
            if cols == TILE and count == lanes(dt):
                total = _mask_row(kept, row, out + shift, there, pixel, total, stored, dt)
            else:
                total = _mask_cells(kept, row, out + shift, there, pixel, cols, count, total, stored, dt)
            shift += plan.out_w * pixel
        image, i, j = next_tile(image, i, j, plan)
    store(summed, total, count, dt)


def _make_pool(vectors, name):
    convolve_blocks = make_convolve_blocks(vectors, _pool_outputs)

    def pool(begin, end, scratch, x, weights, bias, out, argmax, plan):
        finish = address(out), place_of(bias), argmax
        others = NOTHING_BESIDE, NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

    pool.__name__ = name
    return kernel(pool)


def _make_masked(vectors, name):
    convolve_blocks = make_convolve_blocks(vectors, mask_outputs)

    def masked(begin, end, scratch, x, weights, mask, out, sums, plan):
        finish = address(out), address(mask), mask.dtype, address(sums)
        others = beside(mask), NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

    masked.__name__ = name
    return kernel(masked)


conv2d_winograd_pool_narrow = _make_pool(1, "conv2d_winograd_pool_narrow")
conv2d_winograd_pool = _make_pool(2, "conv2d_winograd_pool")
conv2d_winograd_masked_narrow = _make_masked(1, "conv2d_winograd_masked_narrow")
conv2d_winograd_masked = _make_masked(2, "conv2d_winograd_masked")


def suits(x_shape, out_shape, pad_top, pad_left, fixed):
    """Tell whether a convolution has tiles, and tasks that transform their own."""
    plan = winograd_plan(x_shape, out_shape, pad_top, pad_left, TILE, fixed)
    return plan.tiles > 0 and not plan.shared


def run_pool(x, weights, bias, conv_shape, pad_top, pad_left, out, argmax, workspace):
    """Launch convolution, rectifier and 2x2 pooling; `conv_shape` is that of the convolution's result."""
    plan = plan_for(weights, x.shape, conv_shape, pad_top, pad_left)._replace(stream=1)  # no line of it is asked for
    chosen = conv2d_winograd_pool if plan.vectors > 1 else conv2d_winograd_pool_narrow
    scratch = block_scratch(plan, workspace)
    launch(chosen, plan.blocks, x, weights, bias, out, argmax, plan, scratch=scratch)


def run_masked(grad, weights, mask, pad_top, pad_left, out, grad_bias, workspace):
    """Launch the gradient of the input behind a rectifier whose result is `mask`; sum it to `grad_bias` unless None."""
    plan = plan_for(weights, grad.shape, out.shape, pad_top, pad_left)._replace(stream=0)
    sums = workspace.empty((plan.blocks, out.shape[3]), out.dtype)
    chosen = conv2d_winograd_masked if plan.vectors > 1 else conv2d_winograd_masked_narrow
    scratch = block_scratch(plan, workspace)
    launch(chosen, plan.blocks, grad, weights, mask, out, sums, plan, scratch=scratch)
    if grad_bias is not None:
        sum_in_order(sums, grad_bias)
