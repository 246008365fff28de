"""Mean and variance of a convolution's result, from those of the blocks that its kernel computed."""

import math

import numpy as np

from ..norm.batch_norm import write_statistics
from ..runtime.launch import device, kernel, launch
from ..vector.bf16_storage import load_stored
from ..vector.simd import VECTOR_BYTES, address, itemsize, vsum

_NO_PARTIALS, _NO_COUNTS = np.empty((0, 3, 0), np.float32), np.empty(0, np.int64)


@device
def _value(out, i, dt):
    return np.float64(vsum(load_stored(address(out) + i * itemsize(out.dtype), 1, out.dtype, dt)))


@device
def _statistics_in_float64(out, rows, channels, c, origin, dt):
    """Mean distance of a channel from `origin`, and the sum of squares around that mean, from what was stored."""
    total, squares = 0.0, 0.0
    for i in range(rows):
        total += _value(out, i * channels + c, dt) - origin
    mean = total / rows
    for i in range(rows):
        away = _value(out, i * channels + c, dt) - origin - mean
        squares += away * away
    return mean, squares


@kernel
def combine_partial_statistics(begin, end, partials, counts, out, mean, var):
    """Mean and variance from those of the blocks, a vector of channels a task; Chan, Golub and LeVeque 1979.

    Where squares of a block left the range of float32, they are taken again from the outputs.
    """
    parts, _, channels = partials.shape
    dt = partials.dtype
    chunk = VECTOR_BYTES // 4
    for c in range(begin * chunk, min(end * chunk, channels)):
        centre = np.float64(partials[0, 0, c])  # all distances are from here
        origin, seen, total = centre, 0.0, 0.0
        centre, infinite, number = 0.0, False, True
        for part in range(parts):
            count = np.float64(counts[part])
            if count == 0.0:  # of a map's last rows, which no window of a pooling reaches
                continue
            infinite = infinite or abs(partials[part, 1, c]) == math.inf or partials[part, 2, c] == math.inf
            number = number and not math.isnan(partials[part, 2, c])
            shift = np.float64(partials[part, 1, c]) / count
            block_mean = np.float64(partials[part, 0, c]) - origin + shift
            away = block_mean - centre
            seen += count
            centre += away * count / seen
            spread = np.float64(partials[part, 2, c]) - shift * shift * count
            total += spread + away * away * (seen - count) * count / seen
        if infinite and number:
            centre, total = _statistics_in_float64(out, out.size // channels, channels, c, origin, dt)
        write_statistics(mean, var, channels, c, origin, centre, (0.0 if total < 0.0 else total) / seen)


def part_arrays(plan, statistics, workspace):
    """Return arrays for the sums of each block, and for how many outputs it has; empty ones without statistics."""
    if statistics is None:
        return _NO_PARTIALS, _NO_COUNTS
    partials = workspace.empty((plan.blocks, 3, plan.out_channels), np.float32)
    return partials, workspace.empty((plan.blocks,), np.int64)


def combine_parts(parts, out, statistics):
    """Launch `combine_partial_statistics` to `statistics`, (mean, var)."""
    partials, counts = parts
    tasks = -(-partials.shape[2] // (VECTOR_BYTES // 4))
    launch(combine_partial_statistics, tasks, partials, counts, *(array.reshape(-1) for array in (out, *statistics)))
