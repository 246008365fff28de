"""Softmax cross-entropy with its gradient: two passes over each row, sums in float64.

Vectors run along the classes and the exponentials wait in the gradient's place. What concerns the label is computed in
float64 from the sum without the largest term, so that a loss and a gradient near zero keep their digits. A task is a
block of rows of about 8,192 elements. Cost: one vector exponential an element and two scalar functions a row; rows of
targets, and weights of classes, take two passes more.

logits and their gradient are (rows, classes), labels (rows,), soft targets (rows, classes), losses (blocks,).
"""

import math

import numpy as np

from ..elementwise.pointwise import vector_exp
from ..runtime.launch import device, kernel
from ..vector.simd import (
    address,
    itemsize,
    lanes,
    vfma,
    vload,
    vload_part,
    vselect_eq,
    vselect_gt,
    vsplat,
    vstore_part,
    vsum,
)
from .weights import clear_row, divisor, rows_of_block, weight_of


@device
def _candidates(values, results, classes, dt):
    """Write the largest elements of a row, one a lane, to the place of its results; a NaN may be left out."""
    width, size = lanes(dt), itemsize(dt)
    best = vsplat(-math.inf, dt)
    for k in range(0, classes - width + 1, width):
        v = vload(values + k * size, dt)
        best = vselect_gt(v, best, v, best)
    if classes >= width:  # the last vector overlaps the one before
        v = vload(values + (classes - width) * size, dt)
        best = vselect_gt(v, best, v, best)
    else:
        best = vload_part(values, classes, dt)
    vstore_part(results, best, min(classes, width))


@device
def exponentials(values, results, classes, largest, dt):
    """Write ``exp(value - largest)`` of a row; return how many are 1, as the largest is, and the sum of the others."""
    width, size = lanes(dt), itemsize(dt)
    shift, zero, one = vsplat(largest, dt), vsplat(0, dt), vsplat(1, dt)
    ones, others = 0.0, 0.0
    for k in range(0, classes, width):
        count = min(width, classes - k)
        vstore_part(results + k * size, vector_exp(vload_part(values + k * size, count, dt) - shift, dt), count)
        e = vload_part(results + k * size, count, dt)
        ones += np.float64(vsum(vselect_eq(e, one, one, zero)))
        others += np.float64(vsum(vselect_eq(e, one, zero, e)))
    return ones, others


@device
def largest_of(values, row, classes, dt):
    """Return the largest element of a row, NaN if one is: `values` is its address, `row` where results will be."""
    width = lanes(dt)
    _candidates(values, address(row), classes, dt)
    largest = row[0]
    for k in range(1, min(classes, width)):
        if row[k] > largest or math.isnan(largest):
            largest = row[k]
    return largest


@kernel
def softmax_cross_entropy_rows(begin, end, logits, labels, parameters, weights, whole, plain, losses, grad):
    """One block of rows a task, each with a class."""
    rows, classes = logits.shape
    dt = logits.dtype
    width, size = lanes(dt), itemsize(dt)
    rest, kept = parameters[0] / classes, 1.0 - parameters[0]
    divided_by, block_rows = divisor(whole, plain), rows_of_block(classes)
    for block in range(begin, end):
        loss = 0.0
        for n in range(block * block_rows, min((block + 1) * block_rows, rows)):
            weight = weight_of(weights, n)
            if weight == 0.0:
                clear_row(grad[n])
                continue
            values, results = address(logits) + n * classes * size, address(grad) + n * classes * size
            largest = largest_of(values, grad[n], classes, dt)
            ones, others = exponentials(values, results, classes, largest, dt)
            total = ones + others
            factor, less = vsplat(weight / (total * divided_by), dt), vsplat(-rest * weight / divided_by, dt)
            for k in range(0, classes, width):
                count = min(width, classes - k)
                e = vload_part(results + k * size, count, dt)
                vstore_part(results + k * size, vfma(e, factor, less), count)
            log_total = math.log1p((ones - 1) + others)
            label_shift = np.float64(logits[n, labels[n]]) - np.float64(largest)
            if kept != 0.0:
                loss -= kept * weight * (label_shift - log_total)
            if rest != 0.0:
                shifts = 0.0
                for k in range(classes):
                    shifts += np.float64(logits[n, k]) - np.float64(largest)
                loss -= rest * weight * (shifts - classes * log_total)
            excess = (math.exp(label_shift) - ones) - others  # p - 1, times the total
            grad[n, labels[n]] = (excess / total + (1 - kept - rest)) * weight / divided_by
        losses[block] = loss / divided_by


@device
def _share(targets, channel, parameters, n, k, classes, count, dt):
    """Return ``c * q`` of some classes of a row: what of its target falls on each, without its own class if it has one.

    `channel` are weights of classes, or fewer ones: lanes beyond the last class are 0.
    """
    size = itemsize(dt)
    place = k * size if channel.size == classes else 0
    rest, kept = vsplat(parameters[0] / classes, dt), vsplat(1.0 - parameters[0], dt)
    c = vload_part(address(channel) + place, count, dt)
    if not targets.size:
        return c * rest
    return c * vfma(kept, vload_part(address(targets) + (n * classes + k) * size, count, dt), rest)


@device
def _shares(logits, targets, channel, parameters, n, largest, log_total, dt):
    """Return the sum of a row's shares, and of their costs; up to 32 vectors are added in the arrays' own type."""
    width, size, classes = lanes(dt), itemsize(dt), logits.shape[1]
    zero, shift, whole = vsplat(0, dt), vsplat(largest, dt), vsplat(log_total, dt)
    shares, costs = 0.0, 0.0
    for block in range(0, classes, 32 * width):
        total, cost = zero, zero
        for k in range(block, min(block + 32 * width, classes), width):
            count = min(width, classes - k)
            share = _share(targets, channel, parameters, n, k, classes, count, dt)
            x = vload_part(address(logits) + (n * classes + k) * size, count, dt)
            total = total + share
            cost = cost + vselect_eq(share, zero, zero, share * (whole - (x - shift)))
        shares += np.float64(vsum(total))
        costs += np.float64(vsum(cost))
    return shares, costs


@kernel
def softmax_cross_entropy_targets(
    begin, end, logits, labels, targets, channel, parameters, weights, whole, plain, losses, grad
):
    """One block of rows a task; their targets are rows too, or classes that have weights."""
    rows, classes = logits.shape
    dt = logits.dtype
    width, size = lanes(dt), itemsize(dt)
    divided_by, block_rows = divisor(whole, plain), rows_of_block(classes)
    for block in range(begin, end):
        loss = 0.0
        for n in range(block * block_rows, min((block + 1) * block_rows, rows)):
            weight = weight_of(weights, n)
            if weight == 0.0:
                clear_row(grad[n])
                continue
            values, results = address(logits) + n * classes * size, address(grad) + n * classes * size
            largest = largest_of(values, grad[n], classes, dt)
            ones, others = exponentials(values, results, classes, largest, dt)
            log_total = math.log1p((ones - 1) + others)
            shares, costs = _shares(logits, targets, channel, parameters, n, largest, log_total, dt)
            own = 0.0
            if labels.size:
                own = 1.0 - parameters[0]
                if channel.size == classes:
                    own *= np.float64(channel[labels[n]])
                shares += own
                costs += own * (log_total - (np.float64(logits[n, labels[n]]) - np.float64(largest)))
            loss += weight * costs
            factor, less = weight * shares / ((ones + others) * divided_by), weight / divided_by
            for k in range(0, classes, width):
                count = min(width, classes - k)
                share = _share(targets, channel, parameters, n, k, classes, count, dt)
                e = vload_part(results + k * size, count, dt)
                vstore_part(results + k * size, vfma(e, vsplat(factor, dt), share * vsplat(-less, dt)), count)
            if labels.size:
                grad[n, labels[n]] -= own * less
        losses[block] = loss / divided_by
