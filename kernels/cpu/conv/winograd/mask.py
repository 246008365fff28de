"""Gradients of the input of 3x3 Winograd convolutions and an activation before them, while their tile is in registers.

`conv2d_winograd_masked`: the gradient of the input, then of the activation that the input came from, and its sum over
all pixels, the gradient of the bias before that activation: no pass that reads the gradient and writes it again.

grad is (batch, in_h, in_w, in_channels), mask and out (batch, out_h, out_w, out_channels), sums (block, out_channels).
Otherwise it is `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from typing import NamedTuple

import numpy as np

from ...elementwise.following import gradient_of
from ...runtime.launch import device, kernel, launch
from ...vector.bf16_storage import load_stored, stored_bytes, vload_stored
from ...vector.memory import load, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vload, vsplat
from ...vector.stack import stack_vectors
from ...vector.sums import add_in_float64
from .blocks import Products, block_scratch, make_convolve_blocks
from .output import keep_columns
from .plan import plan_for
from .prefetch import NO_PART, PrefetchTargets, part_of
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, Planes, load_six, output_row, store_four
from .walk import make_walk
from .wide import make_convolve_wide
from .wide_transforms import half_outputs, step_on


class PrecedingActivation(NamedTuple):
    """The activation that the input came from, see following.py, and the type of what its gradient is computed from."""

    follows: float
    storage: np.dtype


class MaskResults(NamedTuple):
    """Where gradients go: addresses of the gradient, of what the activation's is computed from, or 0, and of sums."""

    out: int
    mask: int
    preceding: PrecedingActivation
    sums: int  # [block][channel]


class MaskCell(NamedTuple):
    """Addresses that belong to a pixel: of the gradient, and of y or x of the activation if there is one, else 0."""

    out: int
    mask: int


@device
def _next_cell(cell, nbytes, storage, dt):
    """The cell `nbytes` of the gradient further on."""
    return MaskCell(cell.out + nbytes, cell.mask + (stored_bytes(nbytes, storage, dt) if cell.mask else 0))


@device
def _mask_four(g, cell, step, total, preceding, dt):
    """Write four gradients, `step` bytes apart, through the activation if there is one; sum."""
    g0, g1, g2, g3 = g
    (target, mask), (follows, storage) = cell, preceding
    if mask != 0:
        further = stored_bytes(step, storage, dt)
        g0 = gradient_of(g0, vload_stored(mask, storage, dt), follows, dt)
        g1 = gradient_of(g1, vload_stored(mask + further, storage, dt), follows, dt)
        g2 = gradient_of(g2, vload_stored(mask + 2 * further, storage, dt), follows, dt)
        g3 = gradient_of(g3, vload_stored(mask + 3 * further, storage, dt), follows, dt)
    store_four(target, step, (g0, g1, g2, g3))
    return total + ((g0 + g1) + (g2 + g3))


@device
def _mask_cells(row, cell, pixel_bytes, in_bounds, total, preceding, dt):
    """As `_mask_four` for a row that was kept: of it so many columns, and channels, as `in_bounds` says."""
    (cols, count), (follows, storage) = in_bounds, preceding
    values = stack_vectors(TILE, dt)
    store_four(values, VECTOR_BYTES, output_row(*load_six(row, dt), dt))
    for j in range(cols):
        shift = j * pixel_bytes
        g = vload(values + j * VECTOR_BYTES, dt)
        if cell.mask != 0:
            mask = load_stored(cell.mask + stored_bytes(shift, storage, dt), count, storage, dt)
            g = gradient_of(g, mask, follows, dt)
        store(cell.out + shift, g, count, dt)
        total = total + g
    return total


class _MaskJob(NamedTuple):
    products: Products
    results: MaskResults
    count: int  # channels of the vector
    kept: int


@device
def _mask_square(planes, cell, in_bounds, job, plan, total, dt):
    """Write and sum the gradients of a tile; `in_bounds` rows and columns of them lie in the image."""
    pixel_bytes, preceding, kept = plan.out_channels * itemsize(dt), job.results.preceding, job.kept
    keep_columns(planes, kept, dt)
    for _ in range(in_bounds[0]):
        if in_bounds[1] == TILE and job.count == lanes(dt):
            total = _mask_four(output_row(*load_six(kept, dt), dt), cell, pixel_bytes, total, preceding, dt)
        else:
            total = _mask_cells(kept, cell, pixel_bytes, (in_bounds[1], job.count), total, preceding, dt)
        cell = _next_cell(cell, plan.out_w * pixel_bytes, preceding.storage, dt)
        kept += PATCH * VECTOR_BYTES
    return total


@device
def _mask_half(planes, odd, cell, plan, total, preceding, dt):
    """Even or odd columns of a wide tile."""
    pixel_bytes = plan.out_channels * itemsize(dt)
    row_bytes, step = plan.out_w * pixel_bytes, 2 * pixel_bytes
    y = half_outputs(planes.address, planes.step, odd, dt)
    (target, mask), further = cell, stored_bytes(step, preceding.storage, dt) if cell.mask else 0
    total = _mask_four(y[0], MaskCell(target, mask), row_bytes, total, preceding, dt)
    target, mask = step_on(target, step), mask + further
    total = _mask_four(y[1], MaskCell(target, mask), row_bytes, total, preceding, dt)
    target, mask = step_on(target, step), mask + further
    total = _mask_four(y[2], MaskCell(target, mask), row_bytes, total, preceding, dt)
    target, mask = step_on(target, step), mask + further
    return _mask_four(y[3], MaskCell(target, mask), row_bytes, total, preceding, dt)


@device
def _mask_wide(planes, cell, in_bounds, job, plan, total, dt):
    """As `_mask_square` for a whole tile of 4x8."""
    preceding = job.results.preceding
    total = _mask_half(planes, False, cell, plan, total, preceding, dt)
    cell = _next_cell(cell, plan.out_channels * itemsize(dt), preceding.storage, dt)
    return _mask_half(planes, True, cell, plan, total, preceding, dt)


def _make_mask_outputs(shape, mask_tile):
    """Make what masks one vector of channels of some tiles, and sums them, from that of a tile."""
    tile_h, tile_w = shape

    @device
    def mask_outputs_of_tile(tile, job, plan, total, dt):
        products, (out, mask, preceding, _), _, _ = job
        h, w = tile.i * tile_h, tile.j * tile_w
        in_bounds = min(tile_h, plan.out_h - h), min(tile_w, plan.out_w - w)
        element = ((tile.image * plan.out_h + h) * plan.out_w + w) * plan.out_channels + products.channel
        cell = _next_cell(MaskCell(out, mask), element * itemsize(dt), preceding.storage, dt)
        planes = Planes(products.address + tile.number * products.row_bytes, plan.plane_m * itemsize(dt))
        return mask_tile(planes, cell, in_bounds, job, plan, total, dt)

    walk = make_walk(mask_outputs_of_tile)

    @device
    def mask_outputs(products, results, plan, dt):
        count = min(lanes(dt), plan.out_channels - products.channel)
        summed = results.sums + (products.block * plan.out_channels + products.channel) * itemsize(dt)
        total = vsplat(0, dt) if products.fresh else load(summed, count, dt)
        job = _MaskJob(products, results, count, stack_vectors(HALF, dt))
        total = walk(products.first, products.tiles, job, plan, total, dt)
        store(summed, total, count, dt)

    return mask_outputs


def _make_masked(convolve_blocks, name):
    def masked(begin, end, scratch, x, weights, preceding, out, sums, plan):
        mask, follows = preceding
        results = MaskResults(address(out), address(mask), PrecedingActivation(follows, mask.dtype), address(sums))
        wanted = PrefetchTargets(x, out, (part_of(mask), NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, x, weights, results, wanted, plan)

    masked.__name__ = name
    return kernel(masked)


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


def convolve_masked(grad, weight, preceding, place, results, workspace):
    """Launch the gradient of the input through an activation, to `results`, (out, grad_bias).

    `preceding` is what its gradient is computed from, and what `following` gives; `place` is the padding before the
    first row and column; `grad_bias`, the sum, may be None. Return an array that is finite if the gradient is.
    """
    tile, (out, grad_bias) = weight.algorithm.tile, results
    plan = plan_for(weight.packed, grad.shape, out.shape, *place, tile)._replace(stream=0)
    sums = workspace.empty((plan.blocks, out.shape[3]), out.dtype)
    arguments = (grad, weight.packed, preceding, out, sums, plan)
    launch(_MASKED[plan.vectors, tile], plan.blocks, *arguments, scratch=block_scratch(plan, workspace))
    if grad_bias is not None:
        add_in_float64(sums, grad_bias, workspace)
    return sums
