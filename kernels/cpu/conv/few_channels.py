"""Gradient of the input for few input channels, as of a network's first layer: vectors run along what is summed over.

Elsewhere a vector holds output channels of the sum; of three, 13 of 16 lanes would be idle. Here a vector holds
channels of the gradient, which the weight has next to each other as well (HWIO), so nothing is packed: tiles of a few
pixels by all input channels run over taps and vectors of channels, and the lanes of each accumulator are added at the
end.

grad is (batch, in_h, in_w, in_channels), weight (R, S, channels, in_channels), out (batch, out_h, out_w, channels);
pixels, phases of the stride and strips are those of direct.py.

Cost: 2 * N * P * Q * K * C * R * S flops, and the sums over lanes, a fifth more for 64 channels and 3x3 taps.
"""

import functools

import numpy as np

from ..elementwise.channels import add_bias
from ..elementwise.maps import copy
from ..runtime.launch import device, kernel, launch
from ..vector.simd import REGISTERS, VECTOR_BYTES, address, itemsize
from ..vector.tile import ROWS, row_addresses, tile_multiply_add_columns, tile_store_sums, tile_zero
from .plan import prepared_gathers
from .strip import ImageRegion, Images, copy_strip, fill_tables, page_rows

_MOST_CHANNELS = 4
_ROWS = 6 if REGISTERS == 32 else 3  # pixels of a tile: with 4 channels and as many weights, 29 of 32 registers


@device
def _multiply(acc, rows, taps, weight, pixel_bytes):
    """Add the products of all taps: (pixels from `rows`, elements from `weight`) each."""
    for t in range(taps.shape[0]):
        shift, place = taps[t, 0] * pixel_bytes, weight + taps[t, 1]
        for _ in range(0, pixel_bytes, VECTOR_BYTES):
            acc = tile_multiply_add_columns(acc, rows, shift, place, pixel_bytes)
            shift += VECTOR_BYTES
            place += VECTOR_BYTES
    return acc


def _make_kernel(channels):
    def few(begin, end, scratch, grad, weight, add, out, taps, plan):
        """A block of pixels a task."""
        dt = grad.dtype
        size = itemsize(dt)
        table_in = address(scratch)
        table_out = table_in + 8 * (plan.block_images * plan.block_rows * plan.grid_w + ROWS)
        strip = 2 * table_out - table_in
        strip_w = (plan.grid_w - 1) * plan.stride_w + plan.span_w
        pixel_bytes = plan.in_channels * size
        inputs = Images(address(grad), plan.in_h, plan.in_w, plan.in_channels)
        for task in range(begin, end):
            image0 = task // plan.bands * plan.block_images
            images = min(plan.block_images, plan.batch - image0)
            row0 = task % plan.bands * plan.block_rows
            rows = min(plan.block_rows, plan.grid_h - row0)
            strip_h = (rows - 1) * plan.stride_h + plan.span_h
            pixels = fill_tables(table_in, table_out, plan, image0, images, row0, rows)
            source = address(grad)
            if not plan.in_place:
                source = strip
                region = ImageRegion(row0 * plan.stride_h + plan.first_dh, plan.first_dw, strip_h, strip_w)
                for n in range(images):
                    target = strip + n * strip_h * strip_w * pixel_bytes
                    copy_strip(target, plan.in_channels, inputs, image0 + n, region, (0, plan.in_channels), dt)
            for pixel in range(0, pixels, _ROWS):
                places = row_addresses(_ROWS, table_in + 8 * pixel, pixel_bytes, source)
                targets = row_addresses(_ROWS, table_out + 8 * pixel, channels * size, address(out))
                acc = tile_zero(_ROWS, channels, dt)
                acc = _multiply(acc, places, taps, address(weight), pixel_bytes)
                tile_store_sums(acc, targets, add)

    few.__name__ = f"conv2d_few_{channels}"
    return kernel(few)


conv2d_few_1, conv2d_few_2 = _make_kernel(1), _make_kernel(2)
conv2d_few_3, conv2d_few_4 = _make_kernel(3), _make_kernel(4)
_KERNELS = (conv2d_few_1, conv2d_few_2, conv2d_few_3, conv2d_few_4)


def suits(weight, groups):
    """Tell whether the gradient of the input has few channels, and is summed over whole vectors."""
    _, _, channels, outputs = weight.shape
    return groups == 1 and channels <= _MOST_CHANNELS and outputs * weight.itemsize % VECTOR_BYTES == 0 and outputs > 0


@functools.lru_cache(maxsize=1024)
def _taps(plan, taps, offsets, weight_shape, itemsize):
    """For each tap, pixels of the strip from the first, and bytes of the weight."""
    strip_w = plan.in_w if plan.in_place else (plan.grid_w - 1) * plan.stride_w + plan.span_w
    _, width, channels, outputs = weight_shape
    return np.array(
        [
            ((dh - plan.first_dh) * strip_w + dw - plan.first_dw, (r * width + s) * channels * outputs * itemsize)
            for (r, s), (dh, dw) in zip(taps, offsets, strict=True)
        ],
        np.int64,
    ).reshape(-1, 2)


def convolve(grad, weight, bias, geometry, epilogue, out, workspace):
    """Launch the gradient of the input, and add to it what is to be added; see algorithms.py."""
    addend = epilogue.addend
    if addend is not None and addend is not out:
        copy(addend, out=out)
    for gather in prepared_gathers(weight, grad.shape, out.shape, geometry):
        _launch(grad, weight.weight, out, gather, workspace, add=addend is not None)
    if bias is not None:
        add_bias(out, bias, out=out)


def _launch(grad, weight, out, gather, workspace, *, add):
    """Launch one phase of the gradient of the input; with `add`, what is in `out` counts too."""
    plan = gather.plan
    offsets = gather.offsets if plan.taps else ()
    taps = _taps(plan, tuple(map(tuple, gather.taps.tolist())), offsets, weight.shape, weight.itemsize)
    scratch = page_rows(_scratch_bytes(plan, grad.itemsize), workspace)
    chosen = _KERNELS[plan.out_channels - 1]
    launch(chosen, plan.blocks, grad, weight, bool(add), out, taps, plan, scratch=scratch)


def _scratch_bytes(plan, itemsize):
    strip_h = (plan.block_rows - 1) * plan.stride_h + plan.span_h
    strip_w = (plan.grid_w - 1) * plan.stride_w + plan.span_w
    strip = 0 if plan.in_place else plan.block_images * strip_h * strip_w * plan.in_channels * itemsize
    return 16 * (plan.block_images * plan.block_rows * plan.grid_w + ROWS) + strip + 2 * VECTOR_BYTES
