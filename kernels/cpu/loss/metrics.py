"""What metrics are made of: counts of right and wrong classes, and sums of errors in float64. One pass each.

logits are (rows, classes), labels (rows,), and their counts (2,) or (classes, classes); x and targets of errors are
(rows, columns), their sums (7, columns).
"""

import math

import numpy as np

from ..runtime.launch import device, kernel, launch

_COLUMNS = 16  # of a task of `sum_error_columns`


@device
def _before(row, label):
    """Return how many classes come before that of the label: the larger, NaN the largest, the first of equals."""
    own, count = row[label], 0
    if math.isnan(own):
        for k in range(label):
            count += math.isnan(row[k])
        return count
    for k in range(label):
        count += not row[k] < own
    for k in range(label + 1, row.size):
        count += not row[k] <= own
    return count


@device
def _first(row):
    best = 0
    for k in range(1, row.size):
        if row[k] > row[best] or (math.isnan(row[k]) and not math.isnan(row[best])):
            best = k
    return best


@kernel
def count_correct_rows(begin, end, logits, labels, top, out):
    """All rows in one task."""
    rows, classes = logits.shape
    for n in range(rows):
        if 0 <= labels[n] < classes:
            out[0] += _before(logits[n], labels[n]) < top
            out[1] += 1


@kernel
def count_confusion_rows(begin, end, logits, labels, out):
    """All rows in one task."""
    rows, classes = logits.shape
    for n in range(rows):
        if 0 <= labels[n] < classes:
            out[labels[n], _first(logits[n])] += 1


@kernel
def sum_error_columns(begin, end, x, targets, out):
    """Some columns a task, each row after row."""
    rows, columns = x.shape
    first, stop = begin * _COLUMNS, min(end * _COLUMNS, columns)
    for c in range(first, stop):
        if out[0, c] == 0:
            out[1, c] = targets[0, c]
        out[0, c] += rows
    for c in range(first, stop):
        shift, error_sum, size_sum, square_sum, distance_sum, spread_sum = out[1, c], 0.0, 0.0, 0.0, 0.0, 0.0
        for n in range(rows):
            target = np.float64(targets[n, c])
            error, distance = np.float64(x[n, c]) - target, target - shift
            error_sum += error
            size_sum += abs(error)
            square_sum += error * error
            distance_sum += distance
            spread_sum += distance * distance
        out[2, c] += error_sum
        out[3, c] += size_sum
        out[4, c] += square_sum
        out[5, c] += distance_sum
        out[6, c] += spread_sum


def count_correct(logits, labels, *, top, out):
    """Number of rows where the class of the label is among the first ones, and of all."""
    launch(count_correct_rows, 1, logits, labels, top, out)


def count_confusions(logits, labels, *, out):
    """Number of rows by label and first class."""
    launch(count_confusion_rows, 1, logits, labels, out)


def sum_errors(predictions, targets, *, out):
    """Sums of errors, and of the targets' distances from the first."""
    if len(predictions):
        launch(sum_error_columns, -(-out.shape[1] // _COLUMNS), predictions, targets, out)
