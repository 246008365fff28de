"""Sums in a fixed order: with compensation, and of the parts that tasks have summed."""

import numpy as np

from ..runtime.launch import device, get_num_threads, kernel, launch
from .simd import address, itemsize, lanes, vload_part, vselect_eq, vsplat, vstore_part

_CHANNELS = 64  # that a task of `add_parts` sums
_SUM_ELEMENTS = 4096  # that a task of `sum_parts` does


@device
def add_compensated(total, rest, value):
    """Return ``total + value`` and `rest` with what its rounding lost (Knuth's two-sum)."""
    grown = total + value
    there = grown - total
    return grown, rest + ((total - (grown - there)) + (value - there))


@device
def compensated(total, rest):
    """Sum and rest as one number; the sum alone where it is not finite, as the rest is NaN then."""
    return vselect_eq(rest, rest, total + rest, total)


@device
def sum_of_numbers(numbers):
    """Return the sum of float64 numbers in order, with compensation: as good for many as for one."""
    total, rest = 0.0, 0.0
    for i in range(numbers.size):
        total, rest = add_compensated(total, rest, numbers[i])
    return total + rest if rest == rest else total


@kernel
def add_parts(begin, end, scratch, parts, out):
    """Add the rows of `parts`, (parts, channels), in order and in float64; some channels a task.

    For a result in float64 with compensation: there are 2^22 parts of 2^30 rows.
    """
    count, channels = parts.shape
    compensates = itemsize(out.dtype) == 8
    for task in range(begin, end):
        first, stop = task * _CHANNELS, min((task + 1) * _CHANNELS, channels)
        for c in range(stop - first):
            scratch[c] = scratch[_CHANNELS + c] = 0.0
        for part in range(count):
            for c in range(stop - first):
                value = np.float64(parts[part, first + c])
                if compensates:
                    scratch[c], scratch[_CHANNELS + c] = add_compensated(scratch[c], scratch[_CHANNELS + c], value)
                else:
                    scratch[c] += value
        for c in range(stop - first):
            rest = scratch[_CHANNELS + c]
            out[first + c] = scratch[c] + (rest if rest == rest else 0.0)


def add_in_float64(parts, out, workspace):
    """Set `out`, (channels,), to the sum of the rows of `parts`, added in order."""
    tasks = -(-out.size // _CHANNELS)
    scratch = workspace.empty((min(get_num_threads(), tasks), 2 * _CHANNELS), np.float64)
    launch(add_parts, tasks, parts, out, scratch=scratch)


@kernel
def sum_parts(begin, end, parts, out):
    """Add the rows of `parts`, (parts, elements), in order."""
    dt = out.dtype
    size = itemsize(dt)
    width = lanes(dt)
    elements = out.size
    for i in range(begin * _SUM_ELEMENTS, min(end * _SUM_ELEMENTS, elements), width):
        count = min(width, elements - i)
        total = vsplat(0, dt)
        for part in range(parts.shape[0]):
            total = total + vload_part(address(parts) + (part * elements + i) * size, count, dt)
        vstore_part(address(out) + i * size, total, count)


def sum_in_order(parts, out):
    """Set `out` to the sum of the rows of `parts`, added in order."""
    launch(sum_parts, -(-out.size // _SUM_ELEMENTS), parts, out.reshape(-1))
