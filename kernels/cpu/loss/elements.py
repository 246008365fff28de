"""Losses over elements, each with a target: one pass over flat arrays, bound by memory.

A task is a chunk of 16,384 elements. Up to 32 vectors of costs are added in the arrays' own type, all else in float64.
Where rows have weights, or channels, vectors stop at their ends.

x, its targets and grad are (elements,), channel (channels,), losses (tasks,).
"""

import numpy as np

from ..elementwise.pointwise import vector_exp, vector_log1p
from ..runtime.launch import device, kernel
from ..vector.memory import TASK_ELEMENTS, load, store
from ..vector.simd import (
    address,
    itemsize,
    lanes,
    vfloor,
    vload_part,
    vselect_eq,
    vselect_gt,
    vsplat,
    vstore_part,
    vsum,
)
from .weights import divisor, weight_of

_SUM_VECTORS = 32


def make_elements(name, formula):
    """Make the kernel of a loss.

    ``formula(x, t, c, parameters, dtype)`` is cost and slope of vectors of predictions and targets, and the weights of
    their channels.
    """

    @device
    def part(places, first, stop, channel, parameters, factor, dt):
        """Return the cost of some elements of `places`, addresses, and write their gradient times `factor`."""
        x, t, grad = places
        width, size = lanes(dt), itemsize(dt)
        by, cost, c = vsplat(factor, dt), 0.0, vsplat(1, dt)
        for block in range(first, stop, _SUM_VECTORS * width):
            total = vsplat(0, dt)
            for k in range(block, min(block + _SUM_VECTORS * width, stop), width):
                count, place = min(width, stop - k), k * size
                if channel.size:
                    c = load(address(channel) + k % channel.size * size, count, dt)
                value, slope = formula(load(x + place, count, dt), load(t + place, count, dt), c, parameters, dt)
                if count < width:  # what lies beyond costs nothing
                    vstore_part(grad + place, value, count)
                    value = vload_part(grad + place, count, dt)
                total = total + value
                store(grad + place, slope * by, count, dt)
            cost += np.float64(vsum(total))
        return cost

    def elements(begin, end, x, targets, channel, parameters, row, weights, whole, plain, losses, grad):
        dt = x.dtype
        places = address(x), address(targets), address(grad)
        divided_by = divisor(whole, plain)
        alike = channel.size if channel.size else row if weights.size else x.size
        for task in range(begin, end):
            first, end_of_task, loss = task * TASK_ELEMENTS, min((task + 1) * TASK_ELEMENTS, x.size), 0.0
            while first < end_of_task:
                stop = min(end_of_task, first - first % alike + alike)
                weight = weight_of(weights, first // row)
                if weight == 0.0:
                    for k in range(first, stop):
                        grad[k] = 0
                else:
                    loss += weight * part(places, first, stop, channel, parameters, weight / divided_by, dt)
                first = stop
            losses[task] = loss / divided_by

    elements.__name__ = name
    return kernel(elements)


@device
def _binary_cross_entropy(x, t, c, p, dt):
    zero, one = vsplat(0, dt), vsplat(1, dt)
    e = vector_exp(vselect_gt(x, zero, zero - x, x), dt)
    tail = vector_log1p(e, dt)
    yes, no = c * t, one - t
    cost = vselect_eq(yes, zero, zero, yes * (vfloor(zero - x, zero) + tail))
    cost = cost + vselect_eq(no, zero, zero, no * (vfloor(x, zero) + tail))
    more, less = one / (one + e), e / (one + e)
    return cost, no * vselect_gt(x, zero, more, less) - yes * vselect_gt(x, zero, less, more)


@device
def _mean_squared_error(x, t, c, p, dt):
    d = x - t
    return d * d, d + d


@device
def _mean_absolute_error(x, t, c, p, dt):
    d, zero, one = x - t, vsplat(0, dt), vsplat(1, dt)
    return vselect_gt(d, zero, d, zero - d), vselect_gt(d, zero, one, vselect_gt(zero, d, zero - one, d))


@device
def _huber(x, t, c, p, dt):
    d, zero, half, delta = x - t, vsplat(0, dt), vsplat(0.5, dt), vsplat(p[0], dt)
    size = vselect_gt(d, zero, d, zero - d)
    cost = vselect_gt(size, delta, delta * (size - half * delta), half * d * d)
    return cost, vselect_gt(size, delta, vselect_gt(d, zero, delta, zero - delta), d)


# The names are those of kernels/losses.py.
_FORMULAS = {
    "binary_cross_entropy": _binary_cross_entropy,
    "mean_squared_error": _mean_squared_error,
    "mean_absolute_error": _mean_absolute_error,
    "huber": _huber,
}
ELEMENTS = {name: make_elements(f"{name}_elements", formula) for name, formula in _FORMULAS.items()}
