"""Winograd's gradient of the input where that input is a rectified batch normalisation: ``y = relu(batch_norm(x))``.

    out = (conv2d_backward_input(grad_output) + addend) * (y > 0),  and the sums of out and out * z

with ``z = (x - mean) / sqrt(var + eps)``, the mean as it was rounded.

The first pass of the normalisation's gradient (batch_norm_gradient.py) while the tile is in registers: what it would
read, the gradient and x, is not read again. A block of tiles has sums of its own in float32, over a few hundred pixels;
those of the blocks are added in order, in float64.

`conv2d_winograd_norm` is otherwise `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

import numpy as np

from ...norm.batch_norm_gradient import NO_DISTANCES, combine_gradients, rests_of
from ...norm.normalise import vector_rstd
from ...runtime.launch import device, kernel, launch
from ...vector.bf16_storage import load_stored, stored_bytes, vload_stored
from ...vector.memory import load, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vfma, vload, vselect_not_le, vsplat
from ...vector.stack import stack_vectors
from .blocks import block_scratch, make_convolve_blocks, place_of
from .output import keep_columns
from .plan import plan_for
from .prefetch import beside
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, load_six, next_tile, output_row, store_four
from .wide import make_convolve_wide
from .wide_transforms import behind, half_outputs


@device
def _behind(g, y, zero, stored, dt):
    """The gradient behind the rectifier with result at `y`; it passes where that is positive, or NaN."""
    return vselect_not_le(vload_stored(y, stored, dt), zero, g, zero)


@device
def _norm_four(g, places, pixel_bytes, norm, sums, y_stored, x_stored, dt):
    """Four cells, `pixel_bytes` apart in the image; return the sums with theirs."""
    out, addend, y, x = places
    total, product = sums
    centre, rstd = norm
    two, three = 2 * pixel_bytes, 3 * pixel_bytes
    zero = vsplat(0, dt)
    g0, g1, g2, g3 = g
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
    return total + ((g0 + g1) + (g2 + g3)), vfma(one + other, rstd, product)


@device
def _norm_cells(kept, row, places, pixel_bytes, cols, count, norm, sums, y_stored, x_stored, dt):
    """As `_norm_four` of a row for the first `cols` cells and `count` channels."""
    out, addend, y, x = places
    total, product = sums
    centre, rstd = norm
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
        total, product = total + g, vfma(g, away * rstd, product)
    return total, product


@device
def _places_behind(places, nbytes, y_stored, x_stored, dt):
    """Addresses of output, addend, y and x `nbytes` of the output further on."""
    out, addend, y, x = places
    return (
        behind(out, nbytes),
        addend + nbytes * (addend != 0),
        y + stored_bytes(nbytes, y_stored, dt),
        x + stored_bytes(nbytes, x_stored, dt),
    )


@device
def _norm_square(place, plane_bytes, kept, places, steps, there, count, norm, sums, y_stored, x_stored, dt):
    """The cells of a tile, `there` rows and columns of them in the image."""
    row_bytes, pixel_bytes = steps
    keep_columns(place, plane_bytes, kept, dt)
    for row in range(there[0]):
        if there[1] == TILE and count == lanes(dt):
            g = output_row(*load_six(kept + row * PATCH * VECTOR_BYTES, dt), dt)
            sums = _norm_four(g, places, pixel_bytes, norm, sums, y_stored, x_stored, dt)
        else:
            sums = _norm_cells(kept, row, places, pixel_bytes, there[1], count, norm, sums, y_stored, x_stored, dt)
        places = _places_behind(places, row_bytes, y_stored, x_stored, dt)
    return sums


@device
def _norm_half(place, plane_bytes, odd, places, steps, norm, sums, y_stored, x_stored, dt):
    """Even or odd columns of a wide tile."""
    row_bytes, pixel_bytes = steps
    g = half_outputs(place, plane_bytes, odd, dt)
    sums = _norm_four(g[0], places, row_bytes, norm, sums, y_stored, x_stored, dt)
    places = _places_behind(places, 2 * pixel_bytes, y_stored, x_stored, dt)
    sums = _norm_four(g[1], places, row_bytes, norm, sums, y_stored, x_stored, dt)
    places = _places_behind(places, 2 * pixel_bytes, y_stored, x_stored, dt)
    sums = _norm_four(g[2], places, row_bytes, norm, sums, y_stored, x_stored, dt)
    places = _places_behind(places, 2 * pixel_bytes, y_stored, x_stored, dt)
    return _norm_four(g[3], places, row_bytes, norm, sums, y_stored, x_stored, dt)


@device
def _norm_wide(place, plane_bytes, kept, places, steps, there, count, norm, sums, y_stored, x_stored, dt):
    """As `_norm_square` for a whole tile of 4x8."""
    sums = _norm_half(place, plane_bytes, False, places, steps, norm, sums, y_stored, x_stored, dt)
    places = _places_behind(places, steps[1], y_stored, x_stored, dt)
    return _norm_half(place, plane_bytes, True, places, steps, norm, sums, y_stored, x_stored, dt)


def _make_norm_outputs(tile, norm_tile):
    """Make what computes one vector of channels of some tiles, and their sums, from that of a tile."""
    tile_h, tile_w = tile

    @device
    def norm_outputs(products, row_bytes_m, finish, block, first, tiles, channel, fresh, plan, dt):
        (out, addend, y, x), (mean, var, eps), block_sums = finish
        size, y_stored, x_stored = itemsize(dt), y.dtype, x.dtype
        count = min(lanes(dt), plan.out_channels - channel)
        pixel = plan.out_channels * size
        rstd = vector_rstd(var, plan.out_channels, channel, eps, count, dt)
        norm = load(address(mean) + channel * size, count, dt), rstd
        target = (block * plan.out_channels + channel) * size
        sums = vsplat(0, dt), vsplat(0, dt)
        if not fresh:
            sums = load(block_sums[0] + target, count, dt), load(block_sums[1] + target, count, dt)
        kept = stack_vectors(HALF, dt)
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        for t in range(tiles):
            h, w = i * tile_h, j * tile_w
            there = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
            shift = ((image * plan.out_h + h) * plan.out_w + w) * pixel + channel * size
            places = _places_behind((out, addend, address(y), address(x)), shift, y_stored, x_stored, dt)
            source, steps = (products + t * row_bytes_m, plan.plane_m * size, kept), (plan.out_w * pixel, pixel)
            sums = norm_tile(*source, places, steps, there, count, norm, sums, y_stored, x_stored, dt)
            image, i, j = next_tile(image, i, j, plan)
        store(block_sums[0] + target, sums[0], count, dt)
        store(block_sums[1] + target, sums[1], count, dt)

    return norm_outputs


def _make_norm(convolve_blocks, name):
    def norm(begin, end, scratch, grad, weights, addend, y, x, mean, var, eps, out, sums, products, plan):
        places = address(out), place_of(addend), y, x
        finish = places, (mean, var, eps), (address(sums), address(products))
        others = beside(addend), beside(y), beside(x)
        convolve_blocks(begin, end, scratch, grad, grad, weights, finish, out, others, plan)

    norm.__name__ = name
    return kernel(norm)


_norm_square_outputs = _make_norm_outputs(SQUARE, _norm_square)
_norm_wide_outputs = _make_norm_outputs(WIDE, _norm_wide)
conv2d_winograd_norm_narrow = _make_norm(make_convolve_blocks(1, _norm_square_outputs), "conv2d_winograd_norm_narrow")
conv2d_winograd_norm = _make_norm(make_convolve_blocks(2, _norm_square_outputs), "conv2d_winograd_norm")
conv2d_winograd_norm_wide = _make_norm(make_convolve_wide(_norm_wide_outputs), "conv2d_winograd_norm_wide")
_KERNELS = {  # by vectors, tile
    (1, SQUARE): conv2d_winograd_norm_narrow,
    (2, SQUARE): conv2d_winograd_norm,
    (2, WIDE): conv2d_winograd_norm_wide,
}
_NOTHING = np.empty(0, np.float32)


def run(grad, weights, addend, norm, pad_top, pad_left, tile, out, workspace):
    """Launch the convolution, and the sum over its blocks; `norm` is (y, x, mean, var, eps, grad_gamma, grad_beta).

    Return an array that is finite if the gradient is.
    """
    y, x, mean, var, eps, grad_gamma, grad_beta = norm
    plan = plan_for(weights, grad.shape, out.shape, pad_top, pad_left, tile)._replace(stream=0)
    sums, products = (workspace.empty((plan.blocks, plan.out_channels), out.dtype) for _ in range(2))
    addend = _NOTHING if addend is None else addend.reshape(-1)
    rests, mean, var, eps = rests_of(mean), mean.reshape(-1), var.reshape(-1), float(eps)
    arguments = (grad, weights, addend, y, x, mean, var, eps, out, sums, products, plan)
    launch(_KERNELS[plan.vectors, tile], plan.blocks, *arguments, scratch=block_scratch(plan, workspace))
    launch(combine_gradients, 1, sums, products, NO_DISTANCES, 0, mean, rests, var, eps, grad_gamma, grad_beta)
    return grad_beta
