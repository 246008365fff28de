"""The softmax of rows and its gradient, sums in float64; built like softmax.py.

x, y and gradients are (rows, classes). Cost: one vector exponential an element. A task is a block of rows of about
8,192 elements.
"""

from ..runtime.launch import kernel, launch
from ..vector.memory import load, store
from ..vector.simd import address, itemsize, lanes, vsplat, vsum
from .softmax import exponentials, largest_of
from .weights import rows_of_block, tasks_of


@kernel
def softmax_rows(begin, end, x, out):
    """One block of rows a task."""
    rows, classes = x.shape
    dt = x.dtype
    size, block_rows = itemsize(dt), rows_of_block(classes)
    for n in range(begin * block_rows, min(end * block_rows, rows)):
        values, results = address(x) + n * classes * size, address(out) + n * classes * size
        largest = largest_of(values, out[n], classes, dt)
        ones, others = exponentials(values, results, classes, largest, dt)
        share = vsplat(1.0 / (ones + others), dt)
        for k in range(0, classes, lanes(dt)):
            count = min(lanes(dt), classes - k)
            store(results + k * size, load(results + k * size, count, dt) * share, count, dt)


@kernel
def softmax_gradient(begin, end, grad, y, out):
    """One block of rows a task: ``y * (grad - sum of grad * y)``."""
    rows, classes = y.shape
    dt = y.dtype
    size, block_rows = itemsize(dt), rows_of_block(classes)
    for n in range(begin * block_rows, min(end * block_rows, rows)):
        place, total = n * classes * size, 0.0
        for k in range(0, classes, lanes(dt)):
            count = min(lanes(dt), classes - k)
            at = place + k * size
            total += vsum(load(address(grad) + at, count, dt) * load(address(y) + at, count, dt))
        mean = vsplat(total, dt)
        for k in range(0, classes, lanes(dt)):
            count, at = min(lanes(dt), classes - k), place + k * size
            value = load(address(y) + at, count, dt) * (load(address(grad) + at, count, dt) - mean)
            store(address(out) + at, value, count, dt)


def _launch(function, *arrays):
    classes = arrays[0].shape[-1]
    rows = tuple(array.reshape(-1, classes) for array in arrays)
    launch(function, tasks_of(len(rows[0]), classes), *rows)


def softmax(x, *, out):
    """Exponentials over their sum, along the last axis."""
    _launch(softmax_rows, x, out)


def softmax_backward(grad_output, y, *, out):
    """Gradient of `softmax`."""
    _launch(softmax_gradient, grad_output, y, out)
