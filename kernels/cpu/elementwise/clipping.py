"""Limits of gradients: of each element, or of their norm. Bound by memory.

Squares are added in up to 32 vectors of the array's own type, all else is in float64; so a norm is off by at most
``80 u`` of itself (u is half the type's eps; 300 u in float64, which is the array's own type). x is flat, (elements,),
sums (tasks,), squares (parts,).
"""

import math

import numpy as np

from ..runtime.launch import device, kernel, launch
from ..vector.memory import TASK_ELEMENTS, load, store
from ..vector.simd import address, itemsize, lanes, vfma, vselect_eq, vselect_gt, vsplat, vsum
from ..vector.sums import sum_of_numbers
from .maps import make_unary, run_unary

_SUM_VECTORS = 32


@device
def _within(x, p, dt):
    high, low = vsplat(p[0], dt), vsplat(-p[0], dt)
    return vselect_gt(x, high, high, vselect_gt(low, x, low, x))


clip_array = make_unary("clip_array", _within)


@kernel
def sum_square_parts(begin, end, x, sums):
    """One chunk a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    for task in range(begin, end):
        stop, found = min((task + 1) * TASK_ELEMENTS, x.size), 0.0
        for block in range(task * TASK_ELEMENTS, stop, _SUM_VECTORS * width):
            total = vsplat(0, dt)
            for i in range(block, min(block + _SUM_VECTORS * width, stop), width):
                value = load(address(x) + i * size, min(width, stop - i), dt)
                total = vfma(value, value, total)
            found += np.float64(vsum(total))
        sums[task] = found


@kernel
def add_square_parts(begin, end, sums, squares):
    """The parts in order, in one task."""
    squares[0] = sum_of_numbers(sums)


@kernel
def scale_to_norm(begin, end, x, squares, limit, out):
    """One chunk a task."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    total = 0.0
    for i in range(squares.size):
        total += squares[i]
    factor = limit / (math.sqrt(total) + 1e-6)
    by, zero = vsplat(1.0 if factor > 1.0 else factor, dt), vsplat(0, dt)
    stop = min(end * TASK_ELEMENTS, x.size)
    for i in range(begin * TASK_ELEMENTS, stop, width):
        count = min(width, stop - i)
        value = load(address(x) + i * size, count, dt)
        store(address(out) + i * size, vselect_eq(value, zero, value, value * by), count, dt)


def clip(x, *, limit, out):
    """Each element within the limit."""
    run_unary(clip_array, x, out, (float(limit),))


def sum_squares(x, *, out, workspace):
    """Sum of the squares of all elements."""
    sums = workspace.empty((-(-x.size // TASK_ELEMENTS),), np.float64)
    launch(sum_square_parts, sums.size, x.reshape(-1), sums)
    launch(add_square_parts, 1, sums, out)


def clip_norm(x, squares, *, limit, out):
    """All elements by the one factor that brings the norm within the limit."""
    launch(scale_to_norm, -(-x.size // TASK_ELEMENTS), x.reshape(-1), squares, float(limit), out.reshape(-1))
