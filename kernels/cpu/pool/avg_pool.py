"""Average pooling and its gradient, NHWC, vectors along the channels; built like max_pool.py.

x is (batch, in_h, in_w, channels), its result (batch, out_h, out_w, channels); gradients are like what they are of.

A window of up to 32 cells is one sum; of a larger one each 32 are, or fewer, and these sums are added with
compensation, so that the error does not grow with the window (`u` = 2^-24, or 2^-53):

    |error| <= 34 u * mean |x|

The gradient does the same with the windows that cover a cell. Bound by memory.
"""

from ..runtime.launch import device, kernel, launch
from ..vector.memory import load, put, store, streams_rows
from ..vector.simd import address, itemsize, lanes, load_word, store_word, vfma, vload, vsplat, vstore
from ..vector.sums import add_compensated, compensated
from .windows import first_of, inside, list_windows, pool_plan, suits_pool, window_scratch

_CELLS = 32


@device
def _count(p, q, plan, count_include_pad):
    """Cells that window (p, q) divides by."""
    h0, w0 = p * plan.stride_h - plan.top, q * plan.stride_w - plan.left
    h1 = min(h0 + plan.kernel_h, plan.in_h + (plan.bottom if count_include_pad else 0))
    w1 = min(w0 + plan.kernel_w, plan.in_w + (plan.right if count_include_pad else 0))
    if not count_include_pad:
        h0, w0 = max(h0, 0), max(w0, 0)
    return (h1 - h0) * (w1 - w0)


@device
def sum_of_window(source, rows, cols, row_bytes, pixel_bytes, count, dt):
    """Sum of the cells of a window inside the map."""
    total, rest = vsplat(0, dt), vsplat(0, dt)
    if rows * cols <= _CELLS:
        for r in range(rows):
            for s in range(cols):
                total = total + load(source + r * row_bytes + s * pixel_bytes, count, dt)
        return total
    band = max(1, _CELLS // cols)
    for r in range(0, rows, band):
        for s in range(0, cols, _CELLS):
            part = vsplat(0, dt)
            for i in range(r, min(r + band, rows)):
                for j in range(s, min(s + _CELLS, cols)):
                    part = part + load(source + i * row_bytes + j * pixel_bytes, count, dt)
            total, rest = add_compensated(total, rest, part)
    return compensated(total, rest)


@device
def _sum_of_shares(grad, windows, first, stop, count, dt):
    """Sum of what some windows, listed at `windows`, give to a cell."""
    total = vsplat(0, dt)
    for i in range(first, stop):
        share = vsplat(1.0 / load_word(windows + 16 * i + 8), dt)
        total = vfma(load(grad + load_word(windows + 16 * i) * itemsize(dt), count, dt), share, total)
    return total


@kernel
def avg_pool2d_rows(begin, end, x, out, count_include_pad, plan):
    """One row of output pixels a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    pixel_bytes = plan.channels * size
    row_bytes = plan.in_w * pixel_bytes
    for row in range(begin, end):
        image, p = row // plan.out_h, row % plan.out_h
        h, r0, r1 = inside(p, plan.kernel_h, plan.stride_h, plan.top, 1, plan.in_h)
        for q in range(plan.out_w):
            w, s0, s1 = inside(q, plan.kernel_w, plan.stride_w, plan.left, 1, plan.in_w)
            source = address(x) + ((image * plan.in_h + h) * plan.in_w + w) * pixel_bytes
            cells = max(_count(p, q, plan, count_include_pad), 1)
            divisor, factor = vsplat(cells, dt), vsplat(1.0 / cells, dt)
            exact = cells & (cells - 1) == 0  # a power of two: the product is the quotient, at a tenth of the time
            pixel = (row * plan.out_w + q) * plan.channels
            whole = 0
            if exact and plan.kernel_h == 2 and plan.kernel_w == 2 and r1 - r0 == 2 and s1 - s0 == 2:
                whole = plan.channels // width * width
                for c in range(0, whole, width):
                    place = source + c * size
                    first = vload(place, dt) + vload(place + pixel_bytes, dt)
                    place += row_bytes
                    total = first + vload(place, dt) + vload(place + pixel_bytes, dt)
                    vstore(address(out) + (pixel + c) * size, total * factor)
            for c in range(whole, plan.channels, width):
                count = min(width, plan.channels - c)
                place = source + r0 * row_bytes + s0 * pixel_bytes + c * size
                total = sum_of_window(place, r1 - r0, s1 - s0, row_bytes, pixel_bytes, count, dt)
                store(address(out) + (pixel + c) * size, total * factor if exact else total / divisor, count, dt)


@kernel
def avg_pool2d_backward_rows(begin, end, scratch, grad, out, count_include_pad, stream, plan):
    """One row of input pixels a task."""
    dt = grad.dtype
    size = itemsize(dt)
    width = lanes(dt)
    col_words = 16 * plan.kernel_w + 8
    rows_table = address(scratch)
    cols_table = rows_table + 16 * plan.kernel_h
    windows = cols_table + col_words * plan.in_w
    for w in range(plan.in_w):
        table = cols_table + col_words * w
        store_word(table, list_windows(table + 8, w, plan.kernel_w, plan.stride_w, plan.left, 1, plan.out_w))
    for row in range(begin, end):
        image, h = row // plan.in_h, row % plan.in_h
        rows = list_windows(rows_table, h, plan.kernel_h, plan.stride_h, plan.top, 1, plan.out_h)
        for w in range(plan.in_w):
            table = cols_table + col_words * w
            cols = load_word(table)
            for i in range(rows):
                p = first_of(rows_table, i)
                for j in range(cols):
                    q = first_of(table + 8, j)
                    window = windows + 16 * (i * cols + j)
                    store_word(window, ((image * plan.out_h + p) * plan.out_w + q) * plan.channels)
                    store_word(window + 8, _count(p, q, plan, count_include_pad))
            target = address(out) + (row * plan.in_w + w) * plan.channels * size
            for c in range(0, plan.channels, width):
                count = min(width, plan.channels - c)
                source, cells = address(grad) + c * size, rows * cols
                total = _sum_of_shares(source, windows, 0, min(cells, _CELLS), count, dt)
                if cells > _CELLS:
                    rest = vsplat(0, dt)
                    for i in range(_CELLS, cells, _CELLS):
                        part = _sum_of_shares(source, windows, i, min(i + _CELLS, cells), count, dt)
                        total, rest = add_compensated(total, rest, part)
                    total = compensated(total, rest)
                put(target + c * size, total, count, stream, dt)


@kernel
def avg_pool2d_backward_squares(begin, end, grad, out, stream):
    """2x2 windows next to each other: a quarter of the gradient to each cell; two rows of input pixels a task."""
    dt = grad.dtype
    size = itemsize(dt)
    width = lanes(dt)
    _, in_h, in_w, channels = out.shape
    _, out_h, out_w, _ = grad.shape
    pixel_bytes = channels * size
    pairs = (in_h + 1) // 2
    quarter = vsplat(0.25, dt)
    for task in range(begin, end):
        image, p = task // pairs, task % pairs
        for q in range((in_w + 1) // 2):
            source = address(grad) + ((image * out_h + p) * out_w + q) * pixel_bytes
            target = address(out) + ((image * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
            in_bounds = p < out_h and q < out_w
            for c in range(0, channels, width):
                count, place = min(width, channels - c), target + c * size
                share = vsplat(0, dt)
                if in_bounds:
                    share = load(source + c * size, count, dt) * quarter
                put(place, share, count, stream, dt)
                if 2 * q + 1 < in_w:
                    put(place + pixel_bytes, share, count, stream, dt)
                if 2 * p + 1 < in_h:
                    place += in_w * pixel_bytes
                    put(place, share, count, stream, dt)
                    if 2 * q + 1 < in_w:
                        put(place + pixel_bytes, share, count, stream, dt)


def avg_pool2d(x, *, windows, out):
    """Mean of each window."""
    plan = pool_plan(x.shape, out.shape, windows)
    launch(avg_pool2d_rows, plan.batch * plan.out_h, x, out, windows.count_include_pad, plan)


def avg_pool2d_backward(grad_output, *, windows, out):
    """Gradient of `avg_pool2d`."""
    stream = streams_rows(out)
    if suits_pool(out.shape, grad_output.shape, windows):
        tasks = out.shape[0] * -(-out.shape[1] // 2)
        launch(avg_pool2d_backward_squares, tasks, grad_output, out, stream)
        return
    plan = pool_plan(out.shape, grad_output.shape, windows)
    tasks = plan.batch * plan.in_h
    arguments = (grad_output, out, windows.count_include_pad, stream, plan)
    launch(avg_pool2d_backward_rows, tasks, *arguments, scratch=window_scratch(plan))
