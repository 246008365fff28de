"""Softmax cross-entropy with its gradient, and counting right answers: one pass over the rows, sums in float64.

Cost: one exponential an element; at 10 classes a batch of 128 is a microsecond or two, so everything stays on one
thread until there are thousands of rows. The loss is summed over blocks of rows and the blocks are added in order.
"""

import math

import numpy as np

from .launch import kernel, launch

_ROWS = 256


@kernel
def softmax_cross_entropy_rows(begin, end, logits, labels, label_smoothing, losses, grad):
    """One block of rows a task."""
    rows, classes = logits.shape
    rest = label_smoothing / classes
    for block in range(begin, end):
        loss = 0.0
        for n in range(block * _ROWS, min((block + 1) * _ROWS, rows)):
            largest = logits[n, 0]
            for k in range(1, classes):
                if not logits[n, k] <= largest:  # a NaN is taken, and shows in the sum
                    largest = logits[n, k]
            total = 0.0
            for k in range(classes):
                total += math.exp(np.float64(logits[n, k]) - np.float64(largest))
            log_total = math.log(total)
            for k in range(classes):
                target = rest + (1.0 - label_smoothing if k == labels[n] else 0.0)
                log_p = np.float64(logits[n, k]) - np.float64(largest) - log_total
                if target != 0.0:
                    loss -= target * log_p
                grad[n, k] = (math.exp(log_p) - target) / rows
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


def softmax_cross_entropy(logits, labels, *, label_smoothing, loss, grad_logits, workspace):
    """Mean loss and its gradient."""
    blocks = -(-logits.shape[0] // _ROWS)
    losses = workspace.empty((blocks,), "float64")
    launch(softmax_cross_entropy_rows, blocks, logits, labels, float(label_smoothing), losses, grad_logits)
    loss[...] = math.fsum(losses)


def count_correct(logits, labels, *, out):
    """Number of rows whose largest logit is at the label."""
    launch(count_correct_rows, 1, logits, labels, out)
