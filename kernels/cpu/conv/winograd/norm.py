"""Winograd's gradient of the input where that is an activated normalisation: ``y = activation(batch_norm(x))``.

    out = activation_backward(conv2d_backward_input(grad_output) + addend),  and the sums of out and out * z

with ``z = (x - mean) / sqrt(var + eps)``, the mean as it was rounded.

The first pass of the normalisation's gradient (batch_norm_gradient.py) while the tile is in registers: what it would
read, the gradient and x, is not read again. A block of tiles has sums of its own in float32, over a few hundred pixels;
those of the blocks are added in order, in float64.

grad is (batch, in_h, in_w, in_channels); out, addend, y and x (batch, out_h, out_w, out_channels); mean and var
(out_channels,); sums (block, out_channels). `conv2d_winograd_norm` is otherwise `conv2d_winograd`: a task is a block of
tiles that transforms its own patches.
"""

from typing import NamedTuple

import numpy as np

from ...elementwise.following import by_need, gradient_of
from ...norm.batch_norm_gradient import NO_DISTANCES, combine_gradients, rests_of
from ...norm.normalise import shift_of, vector_rstd
from ...runtime.launch import device, kernel, launch
from ...vector.bf16_storage import load_stored, stored_bytes, vload_stored
from ...vector.memory import load, or_nothing, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vfma, vload, vsplat
from ...vector.stack import stack_vectors
from .blocks import Products, block_scratch, make_convolve_blocks, place_of
from .output import keep_columns
from .plan import plan_for
from .prefetch import PrefetchTargets, part_of
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, Planes, load_six, output_row, store_four
from .walk import make_walk
from .wide import make_convolve_wide
from .wide_transforms import half_outputs, step_on


class NormResults(NamedTuple):
    """Arrays read and written where the gradient is; addresses, the addend's 0 if there is none."""

    out: int
    addend: int
    y: np.ndarray
    x: np.ndarray
    norm: tuple  # (gamma, beta, mean, var, eps)
    follows: float  # or an activation, see following.py
    sums: int  # [block][channel]: of the gradient
    products: int  # and of the gradient times z


class NormCell(NamedTuple):
    """Addresses that belong to a pixel of the gradient."""

    out: int
    addend: int
    y: int
    x: int


class Norm(NamedTuple):
    """What is known of a vector of channels, and the types of y and x."""

    centre: np.ndarray
    rstd: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray  # less what the rounded mean takes too little
    count: int
    y: np.dtype
    x: np.dtype
    saved: bool  # whether there is a y
    follows: float  # or an activation


@device
def _through_from_y(g, y, x, norm, follows, count, dt):
    return gradient_of(g, load_stored(y, count, norm.y, dt), follows, dt)


@device
def _through_from_x(g, y, x, norm, follows, count, dt):
    value = vfma((load_stored(x, count, norm.x, dt) - norm.centre) * norm.rstd, norm.gamma, norm.beta)
    if norm.saved:
        value = value + load_stored(y, count, norm.y, dt)
    return gradient_of(g, value, follows, dt)


_through_activation = by_need(_through_from_y, _through_from_y, _through_from_x)
"""The gradient through the activation, whose result is at `y`, or what was added to the normalised x before it."""


@device
def _norm_four(g, cell, step, norm, sums, dt):
    """Four cells, `step` bytes apart in the gradient; return the sums with theirs."""
    out, addend, y, x = cell
    total, product = sums
    centre, rstd, follows, x_type = norm.centre, norm.rstd, norm.follows, norm.x
    whole, two, three = lanes(dt), 2 * step, 3 * step
    g0, g1, g2, g3 = g
    if addend != 0:
        g0, g1 = g0 + vload(addend, dt), g1 + vload(addend + step, dt)
        g2, g3 = g2 + vload(addend + two, dt), g3 + vload(addend + three, dt)
    below, further = stored_bytes(step, norm.y, dt), stored_bytes(step, x_type, dt)
    g0 = _through_activation(g0, y, x, norm, follows, whole, dt)
    g1 = _through_activation(g1, y + below, x + further, norm, follows, whole, dt)
    g2 = _through_activation(g2, y + 2 * below, x + 2 * further, norm, follows, whole, dt)
    g3 = _through_activation(g3, y + 3 * below, x + 3 * further, norm, follows, whole, dt)
    store_four(out, step, (g0, g1, g2, g3))
    x0, x1 = vload_stored(x, x_type, dt), vload_stored(x + further, x_type, dt)
    x2, x3 = vload_stored(x + 2 * further, x_type, dt), vload_stored(x + 3 * further, x_type, dt)
    one = vfma(g1, x1 - centre, g0 * (x0 - centre))
    other = vfma(g3, x3 - centre, g2 * (x2 - centre))
    return total + ((g0 + g1) + (g2 + g3)), vfma(one + other, rstd, product)


@device
def _norm_cells(row, cell, pixel_bytes, cols, norm, sums, dt):
    """As `_norm_four` for the first `cols` cells of a row that was kept, and the channels that there are."""
    out, addend, y, x = cell
    total, product = sums
    centre, rstd, count, follows, x_type = norm.centre, norm.rstd, norm.count, norm.follows, norm.x
    values = stack_vectors(TILE, dt)
    store_four(values, VECTOR_BYTES, output_row(*load_six(row, dt), dt))
    for j in range(cols):
        shift = j * pixel_bytes
        g = vload(values + j * VECTOR_BYTES, dt)
        if addend != 0:
            g = g + load(addend + shift, count, dt)
        saved, source = y + stored_bytes(shift, norm.y, dt), x + stored_bytes(shift, x_type, dt)
        g = _through_activation(g, saved, source, norm, follows, count, dt)
        store(out + shift, g, count, dt)
        away = load_stored(source, count, x_type, dt) - centre
        total, product = total + g, vfma(g, away * rstd, product)
    return total, product


@device
def _next_cell(cell, nbytes, norm, dt):
    """The cell `nbytes` of the gradient further on."""
    return NormCell(
        step_on(cell.out, nbytes),
        cell.addend + nbytes * (cell.addend != 0),
        cell.y + stored_bytes(nbytes, norm.y, dt),
        cell.x + stored_bytes(nbytes, norm.x, dt),
    )


class _NormJob(NamedTuple):
    products: Products
    cell: NormCell  # the first one of the arrays
    norm: Norm
    kept: int


@device
def _norm_square(planes, cell, in_bounds, job, plan, sums, dt):
    """The cells of a tile, `in_bounds` rows and columns of them in the image."""
    _, _, norm, kept = job
    pixel_bytes = plan.out_channels * itemsize(dt)
    keep_columns(planes, kept, dt)
    for _ in range(in_bounds[0]):
        if in_bounds[1] == TILE and norm.count == lanes(dt):
            sums = _norm_four(output_row(*load_six(kept, dt), dt), cell, pixel_bytes, norm, sums, dt)
        else:
            sums = _norm_cells(kept, cell, pixel_bytes, in_bounds[1], norm, sums, dt)
        cell = _next_cell(cell, plan.out_w * pixel_bytes, norm, dt)
        kept += PATCH * VECTOR_BYTES
    return sums


@device
def _norm_half(planes, odd, cell, norm, plan, sums, dt):
    """Even or odd columns of a wide tile."""
    pixel_bytes = plan.out_channels * itemsize(dt)
    row_bytes, step = plan.out_w * pixel_bytes, 2 * pixel_bytes
    g = half_outputs(planes.address, planes.step, odd, dt)
    sums = _norm_four(g[0], cell, row_bytes, norm, sums, dt)
    cell = _next_cell(cell, step, norm, dt)
    sums = _norm_four(g[1], cell, row_bytes, norm, sums, dt)
    cell = _next_cell(cell, step, norm, dt)
    sums = _norm_four(g[2], cell, row_bytes, norm, sums, dt)
    cell = _next_cell(cell, step, norm, dt)
    return _norm_four(g[3], cell, row_bytes, norm, sums, dt)


@device
def _norm_wide(planes, cell, in_bounds, job, plan, sums, dt):
    """As `_norm_square` for a whole tile of 4x8."""
    sums = _norm_half(planes, False, cell, job.norm, plan, sums, dt)
    cell = _next_cell(cell, plan.out_channels * itemsize(dt), job.norm, dt)
    return _norm_half(planes, True, cell, job.norm, plan, sums, dt)


def _make_norm_outputs(shape, norm_tile):
    """Make what computes one vector of channels of some tiles, and their sums, from that of a tile."""
    tile_h, tile_w = shape

    @device
    def norm_outputs_of_tile(tile, job, plan, sums, dt):
        products = job.products
        h, w = tile.i * tile_h, tile.j * tile_w
        in_bounds = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
        element = ((tile.image * plan.out_h + h) * plan.out_w + w) * plan.out_channels + products.channel
        cell = _next_cell(job.cell, element * itemsize(dt), job.norm, dt)
        planes = Planes(products.address + tile.number * products.row_bytes, plan.plane_m * itemsize(dt))
        return norm_tile(planes, cell, in_bounds, job, plan, sums, dt)

    walk = make_walk(norm_outputs_of_tile)

    @device
    def transform_outputs(products, results, plan, dt):
        out, addend, y, x, (gamma, beta, mean, var, eps), follows, gradients, correlations = results
        size, channel = itemsize(dt), products.channel
        count = min(lanes(dt), plan.out_channels - channel)
        rstd = vector_rstd(var, plan.out_channels, channel, eps, count, dt)
        norm = Norm(
            load(address(mean) + channel * size, count, dt),
            rstd,
            load(address(gamma) + channel * size, count, dt),
            shift_of(gamma, beta, mean, rstd, channel, count, dt),
            count,
            y.dtype,
            x.dtype,
            y.size > 0,
            follows,
        )
        target = (products.block * plan.out_channels + channel) * size
        sums = vsplat(0, dt), vsplat(0, dt)
        if not products.fresh:
            sums = load(gradients + target, count, dt), load(correlations + target, count, dt)
        job = _NormJob(products, NormCell(out, addend, address(y), address(x)), norm, stack_vectors(HALF, dt))
        sums = walk(products.first, products.tiles, job, plan, sums, dt)
        store(gradients + target, sums[0], count, dt)
        store(correlations + target, sums[1], count, dt)

    return transform_outputs


def _make_norm(convolve_blocks, name):
    def norm(begin, end, scratch, grad, weights, addend, forward, out, sums, plan):
        (y, x, norm, follows), (gradients, correlations) = forward, sums
        places = address(out), place_of(addend), y, x, norm, follows, address(gradients), address(correlations)
        wanted = PrefetchTargets(grad, out, (part_of(addend), part_of(y), part_of(x)))
        convolve_blocks((begin, end), scratch, grad, weights, NormResults(*places), wanted, plan)

    norm.__name__ = name
    return kernel(norm)


norm_outputs = _make_norm_outputs(SQUARE, _norm_square)
_norm_wide_outputs = _make_norm_outputs(WIDE, _norm_wide)
conv2d_winograd_norm_narrow = _make_norm(make_convolve_blocks(1, norm_outputs), "conv2d_winograd_norm_narrow")
conv2d_winograd_norm = _make_norm(make_convolve_blocks(2, norm_outputs), "conv2d_winograd_norm")
conv2d_winograd_norm_wide = _make_norm(make_convolve_wide(_norm_wide_outputs), "conv2d_winograd_norm_wide")
_KERNELS = {  # by vectors, tile
    (1, SQUARE): conv2d_winograd_norm_narrow,
    (2, SQUARE): conv2d_winograd_norm,
    (2, WIDE): conv2d_winograd_norm_wide,
}


def convolve_norm(grad, weight, addend, forward, place, results, workspace):
    """Launch the convolution, and the sum over its blocks, to `results`, (out, grad_gamma, grad_beta).

    `forward` is (y or what was added, or an empty array; x; (gamma, beta, mean, var, eps); what `following` gives),
    `place` the padding before the first row and column. Return an array that is finite if the gradient is.
    """
    tile = weight.algorithm.tile
    plan = plan_for(weight.packed, grad.shape, results[0].shape, *place, tile)
    return launch_norm(_KERNELS[plan.vectors, tile], grad, weight, addend, forward, plan, results, workspace)


def launch_norm(chosen, grad, weight, addend, forward, plan, results, workspace):
    """Launch a kernel of that plan for `grad`, or what it takes for it, and the sum over its blocks."""
    (saved, x, (gamma, beta, mean, var, eps), follows), (out, grad_gamma, grad_beta) = forward, results
    plan = plan._replace(stream=0)
    sums, products = (workspace.empty((plan.blocks, plan.out_channels), out.dtype) for _ in range(2))
    addend = or_nothing(addend, gamma.dtype).reshape(-1)
    rests, mean, var, eps = rests_of(mean), mean.reshape(-1), var.reshape(-1), float(eps)
    forward = saved, x, (gamma, beta, mean, var, eps), follows
    arguments = (grad, weight.packed, addend, forward, out, (sums, products), plan)
    launch(chosen, plan.blocks, *arguments, scratch=block_scratch(plan, workspace))
    launch(combine_gradients, 1, sums, products, NO_DISTANCES, 0, mean, rests, var, eps, grad_gamma, grad_beta)
    return grad_beta
