"""Softmax cross-entropy with its gradient, and counting right answers: two passes over each row, sums in float64.

Vectors run along the classes and the exponentials wait in the gradient's place. What concerns the label is computed in
float64 from the sum without the largest term, so that a loss and a gradient near zero keep their digits. A task is a
block of rows of about 8,192 elements; blocks are added in order. Cost: one vector exponential an element and two scalar
functions a row.
"""

import math

import numpy as np

from ..runtime.launch import device, kernel, launch
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
from ..elementwise.pointwise import vector_exp

_BLOCK = 8192  # elements


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
def _exponentials(values, results, classes, largest, dt):
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


@kernel
def softmax_cross_entropy_rows(begin, end, logits, labels, label_smoothing, block_rows, losses, grad):
    """One block of rows a task."""
    rows, classes = logits.shape
    dt = logits.dtype
    width, size = lanes(dt), itemsize(dt)
    rest, kept = label_smoothing / classes, 1.0 - label_smoothing
    for block in range(begin, end):
        loss = 0.0
        for n in range(block * block_rows, min((block + 1) * block_rows, rows)):
            values, results = address(logits) + n * classes * size, address(grad) + n * classes * size
            _candidates(values, results, classes, dt)
            largest = grad[n, 0]
            for k in range(1, min(classes, width)):
                if grad[n, k] > largest or math.isnan(largest):
                    largest = grad[n, k]
            ones, others = _exponentials(values, results, classes, largest, dt)
            total = ones + others
            factor, less = vsplat(1 / (total * rows), dt), vsplat(-rest / rows, dt)
            for k in range(0, classes, width):
                count = min(width, classes - k)
                e = vload_part(results + k * size, count, dt)
                vstore_part(results + k * size, vfma(e, factor, less), count)
            log_total = math.log1p((ones - 1) + others)
            label_shift = np.float64(logits[n, labels[n]]) - np.float64(largest)
            if kept != 0.0:
                loss -= kept * (label_shift - log_total)
            if rest != 0.0:
                shifts = 0.0
                for k in range(classes):
                    shifts += np.float64(logits[n, k]) - np.float64(largest)
                loss -= rest * (shifts - classes * log_total)
            excess = (math.exp(label_shift) - ones) - others  # p - 1, times the total
            grad[n, labels[n]] = (excess / total + (1 - kept - rest)) / rows
        losses[block] = loss / rows


@kernel
def count_correct_rows(begin, end, logits, labels, out):
    """All rows in one task."""
    rows, classes = logits.shape
    for n in range(rows):
        best = 0
        for k in range(1, classes):
            value, largest = logits[n, k], logits[n, best]
            if value > largest or (math.isnan(value) and not math.isnan(largest)):
                best = k
        if best == labels[n]:
            out[0] += 1


@kernel
def sum_losses(begin, end, losses, loss):
    """The blocks in order, in one task."""
    total = 0.0
    for i in range(losses.size):
        total += losses[i]
    loss[0] = total


def softmax_cross_entropy(logits, labels, *, label_smoothing, loss, grad_logits, workspace):
    """Mean loss and its gradient."""
    rows, classes = logits.shape
    block_rows = max(1, _BLOCK // classes)
    blocks = -(-rows // block_rows)
    losses = workspace.empty((blocks,), "float64")
    arguments = (float(label_smoothing), block_rows, losses, grad_logits)
    launch(softmax_cross_entropy_rows, blocks, logits, labels, *arguments)
    launch(sum_losses, 1, losses, loss.reshape(1))


def count_correct(logits, labels, *, out):
    """Number of rows whose largest logit is at the label."""
    launch(count_correct_rows, 1, logits, labels, out)
