"""Max pooling and its gradient, NHWC, vectors along the channels.

x is (batch, in_h, in_w, channels), its result and argmax (batch, out_h, out_w, channels); gradients are like what they
are of. argmax is the place in the window, row by row, as an integer.

Forward: a task is a row of output pixels; for each pixel every vector of channels runs over the cells of the window
that lie inside, with its best value and the place of it. Backward gathers: for each input pixel the windows that cover
it are listed, and their gradients added where the saved place is this one; so no two tasks write one cell.

Bound by memory: forward one read, one write of a quarter and of the places (at 2x2); backward the reverse.
"""

import numpy as np

from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, store, store_ahead
from ..vector.simd import (
    address,
    itemsize,
    lanes,
    load_word,
    store_word,
    vload,
    vload_index,
    vload_part,
    vselect_eq,
    vselect_max,
    vsplat,
    vstore,
    vstore_index,
    vstore_part,
)
from .windows import first_of, inside, list_windows, pool_plan, second_of, suits_pool, window_scratch

_TASK_BYTES = 65536  # of whole maps


@device
def _largest_of_four(source, tap_h, tap_w, dt):
    """Largest value of a 2x2 window and its place: the loop over the window written out, which halves the time."""
    best, place = vload(source, dt), vsplat(0, dt)
    value = vload(source + tap_w, dt)
    place, best = vselect_max(value, best, vsplat(1, dt), place), vselect_max(value, best, value, best)
    value = vload(source + tap_h, dt)
    place, best = vselect_max(value, best, vsplat(2, dt), place), vselect_max(value, best, value, best)
    value = vload(source + tap_h + tap_w, dt)
    return vselect_max(value, best, value, best), vselect_max(value, best, vsplat(3, dt), place)


@kernel
def max_pool2d_rows(begin, end, x, out, argmax, plan):
    """One row of output pixels a task."""
    dt, index_dt = x.dtype, argmax.dtype
    size, index_size = itemsize(dt), itemsize(index_dt)
    width = lanes(dt)
    pixel_bytes = plan.channels * size
    tap_h, tap_w = plan.dilation_h * plan.in_w * pixel_bytes, plan.dilation_w * pixel_bytes
    one = vsplat(1, dt)
    for row in range(begin, end):
        image, p = row // plan.out_h, row % plan.out_h
        h, r0, r1 = inside(p, plan.kernel_h, plan.stride_h, plan.top, plan.dilation_h, plan.in_h)
        for q in range(plan.out_w):
            w, s0, s1 = inside(q, plan.kernel_w, plan.stride_w, plan.left, plan.dilation_w, plan.in_w)
            source = address(x) + ((image * plan.in_h + h) * plan.in_w + w) * pixel_bytes
            pixel = (row * plan.out_w + q) * plan.channels
            whole = 0
            if plan.kernel_h == 2 and plan.kernel_w == 2 and r1 - r0 == 2 and s1 - s0 == 2:
                whole = plan.channels // width * width
                for c in range(0, whole, width):
                    best, place = _largest_of_four(source + c * size, tap_h, tap_w, dt)
                    vstore(address(out) + (pixel + c) * size, best)
                    vstore_index(address(argmax) + (pixel + c) * index_size, place, width, index_dt)
            for c in range(whole, plan.channels, width):
                count = min(width, plan.channels - c)
                best, place = vsplat(-np.inf, dt), vsplat(0, dt)
                if r1 > r0 and s1 > s0:  # the first cell, which also wins where all are -inf
                    best = vload_part(source + r0 * tap_h + s0 * tap_w + c * size, count, dt)
                    place = vsplat(r0 * plan.kernel_w + s0, dt)
                for r in range(r0, r1):
                    number = vsplat(r * plan.kernel_w + s0, dt)
                    start = source + r * tap_h + c * size
                    for s in range(s0, s1):
                        value = vload_part(start + s * tap_w, count, dt)
                        place = vselect_max(value, best, number, place)
                        best = vselect_max(value, best, value, best)
                        number = number + one
                vstore_part(address(out) + (pixel + c) * size, best, count)
                vstore_index(address(argmax) + (pixel + c) * index_size, place, count, index_dt)


@kernel
def max_pool2d_maps(begin, end, x, out, argmax, maps):
    """One window over each map, as of a global pooling and of Maxout, whose maps are tiny; `maps` of them a task."""
    dt, index_dt = x.dtype, argmax.dtype
    size, width = itemsize(dt), lanes(dt)
    images, in_h, in_w, channels = x.shape
    one = vsplat(1, dt)
    for image in range(begin * maps, min(end * maps, images)):
        for c in range(0, channels, width):
            count, element = min(width, channels - c), image * channels + c
            source = address(x) + (image * in_h * in_w * channels + c) * size
            best, place, number = load(source, count, dt), vsplat(0, dt), vsplat(0, dt)
            for _ in range(1, in_h * in_w):
                source += channels * size
                value, number = load(source, count, dt), number + one
                place, best = vselect_max(value, best, number, place), vselect_max(value, best, value, best)
            store_ahead(address(out) + element * size, best, count, dt)
            vstore_index(address(argmax) + element * itemsize(index_dt), place, count, index_dt)


@kernel
def max_pool2d_backward_rows(begin, end, scratch, grad, argmax, out, plan):
    """One row of input pixels a task."""
    dt, index_dt = grad.dtype, argmax.dtype
    size, index_size = itemsize(dt), itemsize(index_dt)
    width = lanes(dt)
    row_words = 16 * plan.kernel_h
    col_words = 16 * plan.kernel_w + 8
    rows_table = address(scratch)
    cols_table = rows_table + row_words
    windows = cols_table + col_words * plan.in_w
    for w in range(plan.in_w):
        table = cols_table + col_words * w
        count = list_windows(table + 8, w, plan.kernel_w, plan.stride_w, plan.left, plan.dilation_w, plan.out_w)
        store_word(table, count)
    zero = vsplat(0, dt)
    for row in range(begin, end):
        image, h = row // plan.in_h, row % plan.in_h
        rows = list_windows(rows_table, h, plan.kernel_h, plan.stride_h, plan.top, plan.dilation_h, plan.out_h)
        for w in range(plan.in_w):
            table = cols_table + col_words * w
            cols = load_word(table)
            for i in range(rows):
                line = (image * plan.out_h + first_of(rows_table, i)) * plan.out_w
                for j in range(cols):
                    window = windows + 16 * (i * cols + j)
                    store_word(window, (line + first_of(table + 8, j)) * plan.channels)
                    store_word(window + 8, second_of(rows_table, i) * plan.kernel_w + second_of(table + 8, j))
            target = address(out) + (row * plan.in_w + w) * plan.channels * size
            for c in range(0, plan.channels, width):
                count = min(width, plan.channels - c)
                total = zero
                for i in range(rows * cols):
                    element = load_word(windows + 16 * i) + c
                    place = vload_index(address(argmax) + element * index_size, count, index_dt, dt)
                    value = vload_part(address(grad) + element * size, count, dt)
                    here = vsplat(load_word(windows + 16 * i + 8), dt)
                    total = vselect_eq(place, here, total + value, total)
                vstore_part(target + c * size, total, count)


@kernel
def max_pool2d_backward_squares(begin, end, grad, argmax, out):
    """2x2 windows next to each other: every cell belongs to one window or none; two rows of input pixels a task."""
    dt, index_dt = grad.dtype, argmax.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = out.shape
    _, out_h, out_w, _ = grad.shape
    pairs = (in_h + 1) // 2
    zero = vsplat(0, dt)
    for task in range(begin, end):
        image, p = task // pairs, task % pairs
        for q in range((in_w + 1) // 2):
            pixel = ((image * out_h + p) * out_w + q) * channels
            target = address(out) + ((image * in_h + 2 * p) * in_w + 2 * q) * channels * size
            in_bounds = p < out_h and q < out_w
            for c in range(0, channels, width):
                count = min(width, channels - c)
                g, cell = zero, zero
                if in_bounds:
                    g = load(address(grad) + (pixel + c) * size, count, dt)
                    cell = vload_index(address(argmax) + (pixel + c) * itemsize(index_dt), count, index_dt, dt)
                place = target + c * size
                store(place, vselect_eq(cell, zero, g, zero), count, dt)
                if 2 * q + 1 < in_w:
                    store(place + channels * size, vselect_eq(cell, vsplat(1, dt), g, zero), count, dt)
                if 2 * p + 1 < in_h:
                    place += in_w * channels * size
                    store(place, vselect_eq(cell, vsplat(2, dt), g, zero), count, dt)
                    if 2 * q + 1 < in_w:
                        store(place + channels * size, vselect_eq(cell, vsplat(3, dt), g, zero), count, dt)


def max_pool2d(x, *, windows, out, argmax):
    """Largest value of each window, and its place."""
    if windows.kernel_size == x.shape[1:3] and not any(map(any, windows.padding)) and windows.dilation == (1, 1):
        maps = max(1, _TASK_BYTES // max(1, x.nbytes // max(1, len(x))))
        launch(max_pool2d_maps, -(-len(x) // maps), x, out, argmax, maps)
        return
    plan = pool_plan(x.shape, out.shape, windows)
    launch(max_pool2d_rows, plan.batch * plan.out_h, x, out, argmax, plan)


def max_pool2d_backward(grad_output, argmax, *, windows, out):
    """Gradient of `max_pool2d`."""
    if suits_pool(out.shape, grad_output.shape, windows):
        launch(max_pool2d_backward_squares, out.shape[0] * -(-out.shape[1] // 2), grad_output, argmax, out)
        return
    plan = pool_plan(out.shape, grad_output.shape, windows)
    launch(
        max_pool2d_backward_rows, plan.batch * plan.in_h, grad_output, argmax, out, plan, scratch=window_scratch(plan)
    )
