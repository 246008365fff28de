"""Winograd's gradient of the input where that input is a rectified batch normalisation: ``y = relu(batch_norm(x))``.

    out = (conv2d_backward_input(grad_output) + addend) * (y > 0),  and the sums of out and out * (x - mean)

The first pass of the normalisation's gradient (batch_norm_gradient.py) while the tile is in registers: what it would
read, the gradient and x, is not read again. A block of tiles has sums of its own in float32, over a few hundred pixels;
those of the blocks are added in order, in float64.

`conv2d_winograd_norm` is otherwise `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

import numpy as np

from .batch_norm_gradient import combine_gradients
from .elementwise import load, store
from .launch import device, kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vfma, vload, vselect_not_le, vsplat
from .stack import stack_vectors
from .stored import load_stored, stored_bytes, vload_stored
from .winograd import block_scratch, make_convolve_blocks, place_of
from .winograd_ahead import beside
from .winograd_fused import keep_columns
from .winograd_plan import plan_for
from .winograd_transforms import HALF, PATCH, TILE, load_six, next_tile, output_row, store_four


@device
def _behind(g, y, zero, stored, dt):
    """The gradient behind the rectifier with result at `y`; it passes where that is positive, or NaN."""
    return vselect_not_le(vload_stored(y, stored, dt), zero, g, zero)


@device
def _norm_row(kept, row, places, pixel_bytes, centre, sums, y_stored, x_stored, dt):
    """Four cells of a row that lies in the image; return the sums with theirs."""
    out, addend, y, x = places
    total, product = sums
    two, three = 2 * pixel_bytes, 3 * pixel_bytes
    zero = vsplat(0, dt)
    g0, g1, g2, g3 = output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)
    if addend != 0:
        g0, g1 = g0 + vload(addend, dt), g1 + vload(addend + pixel_bytes, dt)
        g2, g3 = g2 + vload(addend + two, dt), g3 + vload(addend + three, dt)
    step = stored_bytes(pixel_bytes, y_stored, dt)
    g0, g1 = _behind(g0, y, zero, y_stored, dt), _behind(g1, y + step, zero, y_stored, dt)
    g2, g3 = _behind(g2, y + 2 * step, zero, y_stored, dt), _behind(g3, y + 3 * step, zero, y_stored, dt)
    store_four(out, pixel_bytes, (g0, g1, g2, g3))
    step = stored_bytes(pixel_bytes, x_stored, dt)
    x0, x1 = vload_stored(x, x_stored, dt), vload_stored(x + step, x_stored, dt)
    x2, x3 = vload_stored(x + 2 * step, x_stored, dt), vload_stored(x + 3 * step, x_stored, dt)
    one = vfma(g1, x1 - centre, g0 * (x0 - centre))
    other = vfma(g3, x3 - centre, g2 * (x2 - centre))
    return total + ((g0 + g1) + (g2 + g3)), product + (one + other)


@device
def _norm_cells(kept, row, places, pixel_bytes, cols, count, centre, sums, y_stored, x_stored, dt):
    """As `_norm_row` for the first `cols` cells and `count` channels."""
    out, addend, y, x = places
    total, product = sums
    zero = vsplat(0, dt)
    values = stack_vectors(TILE, dt)
    store_four(values, VECTOR_BYTES, output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt))
    for j in range(cols):
        shift = j * pixel_bytes
        g = vload(values + j * VECTOR_BYTES, dt)
        if addend != 0:
            g = g + load(addend + shift, count, dt)
        g = vselect_not_le(load_stored(y + stored_bytes(shift, y_stored, dt), count, y_stored, dt), zero, g, zero)
        store(out + shift, g, count, dt)
        away = load_stored(x + stored_bytes(shift, x_stored, dt), count, x_stored, dt) - centre
        total, product = total + g, vfma(g, away, product)
    return total, product


@device
def _norm_outputs(products, row_bytes, finish, block, first, tiles, channel, fresh, plan, dt):
    """One vector of channels of some tiles, and their sums."""
    places, mean, block_sums = finish
    size = itemsize(dt)
    count = min(lanes(dt), plan.out_channels - channel)
    pixel = plan.out_channels * size
    centre = load(mean + channel * size, count, dt)
    target = (block * plan.out_channels + channel) * size
    sums = vsplat(0, dt), vsplat(0, dt)
    if not fresh:
        sums = load(block_sums[0] + target, count, dt), load(block_sums[1] + target, count, dt)
    kept = stack_vectors(HALF, dt)
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    out, addend, y, x = places
    y_stored, x_stored = y.dtype, x.dtype
    for t in range(tiles):
        h, w = i * TILE, j * TILE
        rows, cols = min(TILE, plan.out_h - h), min(TILE, plan.out_w - w)
        shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel + channel * size
        keep_columns(products + t * row_bytes, plan.rows * row_bytes, kept, dt)
        for row in range(rows):
            rectified = address(y) + stored_bytes(shift, y_stored, dt)
            values = address(x) + stored_bytes(shift, x_stored, dt)
            here = out + shift, addend + shift * (addend != 0), rectified, values
            if cols == TILE and count == lanes(dt):
                sums = _norm_row(kept, row, here, pixel, centre, sums, y_stored, x_stored, dt)
            else:
                sums = _norm_cells(kept, row, here, pixel, cols, count, centre, sums, y_stored, x_stored, dt)
            shift += plan.out_w * pixel
        image, i, j = next_tile(image, i, j, plan)
    store(block_sums[0] + target, sums[0], count, dt)
    store(block_sums[1] + target, sums[1], count, dt)


def _make_norm(vectors, name):
    convolve_blocks = make_convolve_blocks(vectors, _norm_outputs)

    def norm(begin, end, scratch, grad, weights, addend, y, x, mean, out, sums, products, plan):
        places = address(out), place_of(addend), y, x
        finish = places, address(mean), (address(sums), address(products))
        others = beside(addend), beside(y), beside(x)
        convolve_blocks(begin, end, scratch, grad, grad, weights, finish, out, others, plan)

    norm.__name__ = name
    return kernel(norm)


conv2d_winograd_norm_narrow = _make_norm(1, "conv2d_winograd_norm_narrow")
conv2d_winograd_norm = _make_norm(2, "conv2d_winograd_norm")
_NOTHING = np.empty(0, np.float32)


def run(grad, weights, addend, norm, pad_top, pad_left, out, workspace):
    """Launch the convolution, and the sum over its blocks; `norm` is (y, x, mean, var, eps, grad_gamma, grad_beta)."""
    y, x, mean, var, eps, grad_gamma, grad_beta = norm
    plan = plan_for(weights, grad.shape, out.shape, pad_top, pad_left)._replace(stream=0)
    sums, products = (workspace.empty((plan.blocks, plan.out_channels), out.dtype) for _ in range(2))
    addend = _NOTHING if addend is None else addend.reshape(-1)
    chosen = conv2d_winograd_norm if plan.vectors > 1 else conv2d_winograd_norm_narrow
    arguments = (grad, weights, addend, y, x, mean, out, sums, products, plan)
    launch(chosen, plan.blocks, *arguments, scratch=block_scratch(plan, workspace))
    launch(combine_gradients, 1, sums, products, var, float(eps), grad_gamma, grad_beta)
