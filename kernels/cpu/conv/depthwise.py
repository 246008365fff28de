"""Depthwise convolution: every channel has a filter of its own; vectors run along the channels.

x is (batch, in_h, in_w, channels), weight (R, S, 1, channels), out (batch, out_h, out_w, channels).

Forward and backward-input are one kernel: for each output pixel it lists the taps that stay inside (offset of the input
pixel, offset of the weight), then runs over the channels with one accumulator. 3x3 with finite weights goes row by row
instead, the weights of one vector of channels in registers. Backward-weight copies a band of an image into a padded
strip and keeps the accumulators of nine taps in registers while it runs over the pixels.

Cost: 2 * R * S flops for each element; bound by memory (one read and one write of the activation), at 3x3 close to the
two loads a cycle of the L1 cache.
"""

import functools
from typing import NamedTuple

import numpy as np

from ..elementwise.finite import all_finite
from ..elementwise.maps import fill
from ..runtime.launch import device, get_num_threads, kernel, launch
from ..vector.memory import load, or_nothing, put, store, streams_rows
from ..vector.simd import (
    LINE_BYTES,
    address,
    itemsize,
    lanes,
    load_word,
    prefetch,
    prefetch_far,
    store_word,
    vfma,
    vload,
    vload_part,
    vsplat,
    vstore,
    vstore_part,
)
from ..vector.sums import sum_in_order
from ..vector.tile import row_addresses, tile_load_part, tile_multiply_add_vectors, tile_store_part, tile_zero
from .algorithms import DEPTHWISE, DEPTHWISE_3X3
from .strip import ImageRegion, Images, copy_strip

_TAPS = 9  # accumulators in registers; larger kernels take several passes over the strip
_PARTS = 16
_STRIP_BYTES = 256 * 1024


class DepthwisePlan(NamedTuple):
    """Sizes of one pass; tap r of output row p reads input row ``(p * step_h + r * tap_h + first_h) / divide_h``."""

    batch: int
    in_h: int
    in_w: int
    out_h: int
    out_w: int
    channels: int
    kernel_h: int
    kernel_w: int
    step_h: int
    step_w: int
    tap_h: int
    tap_w: int
    first_h: int
    first_w: int
    divide_h: int
    divide_w: int


@device
def _list_taps(table, plan, image, p, q, size):
    """Write pairs of byte offsets (input pixel, weight) of the taps that stay inside; return how many."""
    taps = 0
    for r in range(plan.kernel_h):
        h = p * plan.step_h + r * plan.tap_h + plan.first_h
        if h < 0 or h % plan.divide_h or h // plan.divide_h >= plan.in_h:
            continue
        row = (image * plan.in_h + h // plan.divide_h) * plan.in_w
        for s in range(plan.kernel_w):
            w = q * plan.step_w + s * plan.tap_w + plan.first_w
            if w < 0 or w % plan.divide_w or w // plan.divide_w >= plan.in_w:
                continue
            store_word(table + 16 * taps, (row + w // plan.divide_w) * plan.channels * size)
            store_word(table + 16 * taps + 8, (r * plan.kernel_w + s) * plan.channels * size)
            taps += 1
    return taps


@kernel
def conv2d_depthwise(begin, end, scratch, x, weight, bias, out, plan):
    """One row of output pixels a task; forward and backward-input."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    table = address(scratch)
    for row in range(begin, end):  # a row of output pixels
        image, p = row // plan.out_h, row % plan.out_h
        for q in range(plan.out_w):
            taps = _list_taps(table, plan, image, p, q, size)
            target = address(out) + (row * plan.out_w + q) * plan.channels * size
            for c in range(0, plan.channels, width):
                count = min(width, plan.channels - c)
                acc = vsplat(0, dt)
                if bias.size:
                    acc = vload_part(address(bias) + c * size, count, dt)
                place_x, place_w = address(x) + c * size, address(weight) + c * size
                if count == width:
                    for t in range(taps):
                        a = vload(place_x + load_word(table + 16 * t), dt)
                        acc = vfma(a, vload(place_w + load_word(table + 16 * t + 8), dt), acc)
                    vstore(target + c * size, acc)
                else:
                    for t in range(taps):
                        a = vload_part(place_x + load_word(table + 16 * t), count, dt)
                        acc = vfma(a, vload_part(place_w + load_word(table + 16 * t + 8), count, dt), acc)
                    vstore_part(target + c * size, acc, count)


@device
def _column_sum(rows, steps, w, weights, count, dt):
    """The three products of one column of a 3x3 window."""
    total = load(rows[0] + w * steps[0], count, dt) * weights[0]
    total = vfma(load(rows[1] + w * steps[1], count, dt), weights[1], total)
    return vfma(load(rows[2] + w * steps[2], count, dt), weights[2], total)


@device
def _load_weights(place, step, count, dt):
    """Three weights of a column of the kernel."""
    return load(place, count, dt), load(place + step, count, dt), load(place + 2 * step, count, dt)


@device
def _convolve_line(rows, steps, places, bias, count, stream, plan, dt):
    """One row of output pixels for one vector of channels, the nine weights in registers.

    `places` are addresses of the row that the next task reads, of which each pixel is asked for while this one is
    computed, of the output and of the weight.
    """
    ahead, target, weight = places
    size = itemsize(dt)
    tap = plan.channels * size
    left = _load_weights(weight, 3 * tap, count, dt)
    middle = _load_weights(weight + tap, 3 * tap, count, dt)
    right = _load_weights(weight + 2 * tap, 3 * tap, count, dt)
    zero = vsplat(0, dt)
    for q in range(plan.out_w):
        w = q * plan.step_w + plan.first_w
        a, b, c = zero, zero, zero
        if 0 <= w < plan.in_w:
            a = _column_sum(rows, steps, w, left, count, dt)
        w += plan.tap_w
        if 0 <= w < plan.in_w:
            b = _column_sum(rows, steps, w, middle, count, dt)
        w += plan.tap_w
        if 0 <= w < plan.in_w:
            c = _column_sum(rows, steps, w, right, count, dt)
        prefetch(ahead + q * plan.step_w * tap)
        put(target + q * tap, bias + (a + b + c), count, stream, dt)


@device
def _row(x, zeros, image, h, plan, pixel_bytes):
    """Address of a row of the input, or of zeros, and the bytes between its pixels."""
    if 0 <= h < plan.in_h:
        return x + (image * plan.in_h + h) * plan.in_w * pixel_bytes, pixel_bytes
    return zeros, 0


@kernel
def conv2d_depthwise_3x3(begin, end, scratch, x, weight, bias, out, stream, plan):
    """One row of output pixels a task; 3x3 forward, and backward-input with stride 1. Finite weights only."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    pixel_bytes = plan.channels * size
    for c in range(0, plan.channels, width):
        store(address(scratch) + c * size, vsplat(0, dt), min(width, plan.channels - c), dt)
    for task in range(begin, end):
        image, p = task // plan.out_h, task % plan.out_h
        h = p * plan.step_h + plan.first_h
        row0, step0 = _row(address(x), address(scratch), image, h, plan, pixel_bytes)
        row1, step1 = _row(address(x), address(scratch), image, h + plan.tap_h, plan, pixel_bytes)
        row2, step2 = _row(address(x), address(scratch), image, h + 2 * plan.tap_h, plan, pixel_bytes)
        target = address(out) + task * plan.out_w * pixel_bytes
        last = max(h, h + 2 * plan.tap_h)
        ahead = address(x) + (image * plan.in_h + last + plan.step_h) * plan.in_w * pixel_bytes
        steps = step0, step1, step2
        for c in range(0, plan.channels, width):
            count, shift = min(width, plan.channels - c), c * size
            start = vsplat(0, dt)
            if bias.size:
                start = load(address(bias) + shift, count, dt)
            places = ahead + shift, target + shift, address(weight) + shift
            rows = row0 + shift, row1 + shift, row2 + shift
            if count == width:
                _convolve_line(rows, steps, places, start, width, stream, plan, dt)
            else:
                _convolve_line(rows, steps, places, start, count, False, plan, dt)


def algorithm(weight, direction, stride):
    """Return by which of the two kernels a direction is computed.

    In the one that goes row by row, zeros stand for rows outside the image, which gives NaN where a weight is infinite.
    """
    regular = weight.shape[:2] == (3, 3) and (direction == "forward" or stride == (1, 1))
    return (DEPTHWISE_3X3 if regular and all_finite(weight) else DEPTHWISE)[direction]


def convolve(x, weight, bias, geometry, epilogue, out, workspace):
    """Launch a convolution or the gradient of its input; nothing follows it in the same pass. See algorithms.py.

    Of the gradient taps go in the other direction, and only where the stride divides.
    """
    ((top, _), (left, _)), dilation = geometry.padding, geometry.dilation
    steps = (*geometry.stride, *dilation, -top, -left, 1, 1)
    if weight.algorithm.transposed:
        steps = (1, 1, -dilation[0], -dilation[1], top, left, *geometry.stride)
    bias, array = or_nothing(bias, x.dtype), weight.weight
    plan = DepthwisePlan(*x.shape[:3], *out.shape[1:], *array.shape[:2], *steps)
    scratch = workspace.empty((get_num_threads(), 16 * plan.kernel_h * plan.kernel_w), np.uint8)
    if weight.algorithm is DEPTHWISE_3X3[weight.algorithm.direction]:
        zeros = workspace.empty((get_num_threads(), -(-plan.channels // 16) * 16), x.dtype)
        stream = streams_rows(out)
        launch(conv2d_depthwise_3x3, plan.batch * plan.out_h, x, array, bias, out, stream, plan, scratch=zeros)
        return
    launch(conv2d_depthwise, plan.batch * plan.out_h, x, array, bias, out, plan, scratch=scratch)


class DepthwiseWeightPlan(NamedTuple):
    """Sizes of backward-weight."""

    batch: int
    in_h: int
    in_w: int
    out_h: int
    out_w: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    block_rows: int
    bands: int
    parts: int
    strip_elements: int


@functools.lru_cache(maxsize=1024)
def _weight_plan(x_shape, grad_shape, weight_shape, geometry, itemsize):
    ((top, _), (left, _)), stride, dilation = geometry.padding, geometry.stride, geometry.dilation
    batch, in_h, in_w, channels = x_shape
    out_h, out_w = grad_shape[1:3]
    kernel_h, kernel_w = weight_shape[:2]
    strip_w = (out_w - 1) * stride[1] + (kernel_w - 1) * dilation[1] + 1
    row_bytes = strip_w * channels * itemsize
    rows = (_STRIP_BYTES // row_bytes - (kernel_h - 1) * dilation[0] - 1) // stride[0] + 1
    rows = max(1, min(out_h, rows))
    bands = -(-out_h // rows)
    strip = ((rows - 1) * stride[0] + (kernel_h - 1) * dilation[0] + 1) * strip_w * channels
    shape = (batch, in_h, in_w, out_h, out_w, channels, kernel_h, kernel_w)
    blocking = (rows, bands, min(_PARTS, batch * bands), strip)
    return DepthwiseWeightPlan(*shape, *stride, *dilation, top, left, *blocking)


@device
def _sum_pixels(acc, taps, grad, ahead, count, strip, plan, dt):
    """Add to each tap the products of its input pixels and the gradient, over a band of `strip`, rows and columns.

    Of both places in `ahead` a line a pixel is asked for.
    """
    x_ahead, grad_ahead = ahead
    rows, strip_w = strip
    pixel_bytes = plan.channels * itemsize(dt)
    for i in range(rows):
        shift = i * plan.stride_h * strip_w * pixel_bytes
        for _ in range(plan.out_w):
            value = vload(grad, dt) if count == lanes(dt) else vload_part(grad, count, dt)
            acc = tile_multiply_add_vectors(acc, taps, shift, value)
            prefetch_far(x_ahead)
            prefetch_far(grad_ahead)
            x_ahead += LINE_BYTES
            grad_ahead += LINE_BYTES
            shift += plan.stride_w * pixel_bytes
            grad += pixel_bytes
    return acc


@kernel
def conv2d_depthwise_backward_weight(begin, end, scratch, grad, x, sums, plan):
    """One part of the images a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    taps = plan.kernel_h * plan.kernel_w
    offsets = address(scratch)
    numbers = offsets + 8 * (taps + _TAPS)
    strip = numbers + 8 * (taps + _TAPS)
    strip_w = (plan.out_w - 1) * plan.stride_w + (plan.kernel_w - 1) * plan.dilation_w + 1
    for t in range(taps + _TAPS):  # the last group repeats the last tap
        r, s = divmod(min(t, taps - 1), plan.kernel_w)
        store_word(offsets + 8 * t, r * plan.dilation_h * strip_w + s * plan.dilation_w)
        store_word(numbers + 8 * t, min(t, taps - 1))
    pixel_bytes = plan.channels * size
    inputs = Images(address(x), plan.in_h, plan.in_w, plan.channels)
    blocks = plan.batch * plan.bands
    for part in range(begin, end):
        target = address(sums) + part * taps * pixel_bytes
        first = part * blocks // plan.parts
        for block in range(first, (part + 1) * blocks // plan.parts):
            image, row0 = block // plan.bands, block % plan.bands * plan.block_rows
            rows = min(plan.block_rows, plan.out_h - row0)
            strip_h = (rows - 1) * plan.stride_h + (plan.kernel_h - 1) * plan.dilation_h + 1
            h0 = row0 * plan.stride_h - plan.pad_top
            region = ImageRegion(h0, -plan.pad_left, strip_h, strip_w)
            copy_strip(strip, plan.channels, inputs, image, region, (0, plan.channels), dt)
            pixels = rows * plan.out_w
            next_image, next_row = (block + 1) // plan.bands, (block + 1) % plan.bands * plan.block_rows
            x_next = (next_image * plan.in_h + next_row * plan.stride_h) * plan.in_w * pixel_bytes
            grad_next = (next_image * plan.out_h + next_row) * plan.out_w * pixel_bytes
            source = address(grad) + (image * plan.out_h + row0) * plan.out_w * pixel_bytes
            for t in range(0, taps, _TAPS):
                for c in range(0, plan.channels, width):
                    count = min(width, plan.channels - c)
                    places = row_addresses(_TAPS, numbers + 8 * t, pixel_bytes, target + c * size)
                    taps_of_c = row_addresses(_TAPS, offsets + 8 * t, pixel_bytes, strip + c * size)
                    acc = tile_zero(_TAPS, 1, dt)
                    if block > first:
                        acc = tile_load_part(acc, places, count)
                    asked = c // width * pixels * LINE_BYTES
                    ahead = address(x) + x_next + asked, address(grad) + grad_next + asked
                    acc = _sum_pixels(acc, taps_of_c, source + c * size, ahead, count, (rows, strip_w), plan, dt)
                    tile_store_part(acc, places, count)


def backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    """Launch the gradient of the weight and the ordered sum of its parts."""
    if grad_output.size == 0:
        fill(0, out=out)
        return
    plan = _weight_plan(x.shape, grad_output.shape, out.shape, geometry, x.itemsize)
    scratch_bytes = 16 * (plan.kernel_h * plan.kernel_w + _TAPS) + plan.strip_elements * x.itemsize + 64
    scratch = workspace.empty((get_num_threads(), -(-scratch_bytes // 64) * 64), np.uint8)
    sums = workspace.empty((plan.parts, out.size), out.dtype)
    launch(conv2d_depthwise_backward_weight, plan.parts, grad_output, x, sums, plan, scratch=scratch)
    sum_in_order(sums, out)
