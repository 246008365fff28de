"""Gradients of the input of 3x3 Winograd convolutions behind a rectifier, masked while their tile is in registers.

`conv2d_winograd_masked`: the gradient of the input, then of the rectifier that the input came from, and its sum over
all pixels, the gradient of the bias before that rectifier: no pass that reads the gradient and writes it again.

Otherwise it is `conv2d_winograd`: a task is a block of tiles that transforms its own patches.
"""

from ...runtime.launch import device, kernel, launch
from ...vector.bf16_storage import load_stored, stored_bytes, vload_stored
from ...vector.memory import load, store
from ...vector.simd import VECTOR_BYTES, address, itemsize, lanes, vload, vselect_not_le, vsplat
from ...vector.stack import stack_vectors
from ...vector.sums import add_in_float64
from .blocks import block_scratch, make_convolve_blocks
from .output import keep_columns
from .plan import plan_for
from .prefetch import NOTHING_BESIDE, beside
from .transforms import HALF, PATCH, SQUARE, TILE, WIDE, load_six, next_tile, output_row, store_four
from .wide import make_convolve_wide
from .wide_transforms import behind, half_outputs


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


def _make_masked(convolve_blocks, name):
    def masked(begin, end, scratch, x, weights, mask, out, sums, plan):
        finish = address(out), address(mask), mask.dtype, address(sums)
        others = beside(mask), NOTHING_BESIDE, NOTHING_BESIDE
        convolve_blocks(begin, end, scratch, x, x, weights, finish, out, others, plan)

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
