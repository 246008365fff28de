"""What the rows of a batch count in a loss, and what their sum is divided by.

Kernels get three things: weights of rows in float64, empty if all are 1; `whole`, the divisor in an array of one
element; and `plain`, a number for where that is empty.

labels, sample and weights are (rows,), channel (classes,), total (1,).
"""

import numpy as np

from ...losses import LOSSES, NO_CLASS
from ..runtime.launch import device, kernel, launch

_BLOCK = 8192  # elements of a block of rows
_NONE = np.empty(0)
NO_LABELS = np.empty(0, np.int32)


@device
def weight_of(weights, n):
    """Return the weight of a row."""
    return weights[n] if weights.size else 1.0


@device
def divisor(whole, plain):
    """Return what the sum is divided by, 1 where it would be 0."""
    total = whole[0] if whole.size else plain
    return total if total != 0.0 else 1.0


@device
def rows_of_block(classes):
    """Return how many rows are one task."""
    return max(1, _BLOCK // classes)


def tasks_of(rows, classes):
    """Return how many tasks they are."""
    return -(-rows // max(1, _BLOCK // classes))


@device
def clear_row(row):
    """Set a row of a gradient to zero."""
    for k in range(row.size):
        row[k] = 0


@kernel
def weigh_rows(begin, end, labels, channel, sample, ignored, of_classes, each, weights, total):
    """All rows in one task: their weights, times those of their classes if `of_classes`, and the divisor."""
    counted = 0.0
    for n in range(weights.size):
        weight = np.float64(sample[n]) if sample.size else 1.0
        if labels.size and labels[n] == ignored:
            weight = 0.0
        own = weight
        if labels.size and channel.size and weight != 0.0:
            own = weight * np.float64(channel[labels[n]])
        weights[n] = own if of_classes else weight
        counted += own
    total[0] = counted * each


def count_rows(
    *,
    sample,
    mean,
    rows,
    workspace,
    labels=NO_LABELS,
    channel=_NONE,
    ignored=None,
    of_classes=False,
    each=1,
    whole=None,
):
    """Return weights, `whole` and `plain` for a batch of `rows`; without weights that costs nothing.

    A divisor that is given as `whole` takes the place of the batch's own.

    Parameters
    ----------
    labels, channel, sample : arrays, empty for what there is not
    each : elements of a row that have a target each
    """
    if ignored is None and not sample.size and not (labels.size and channel.size):
        return _NONE, _NONE if whole is None else whole, float(rows * each) if mean else 1.0
    weights, total = workspace.empty((rows,), np.float64), workspace.empty((1,), np.float64)
    ignored = NO_CLASS if ignored is None else int(ignored)
    launch(weigh_rows, 1, labels, channel, sample, ignored, of_classes, each, weights, total)
    return weights, whole if whole is not None else total if mean else _NONE, 1.0


def loss_divisor(chosen, targets, *, channel_weight, sample_weight, ignore_index, out, workspace):
    """What the mean of a loss over these targets divides by."""
    over_rows, rows = LOSSES[chosen.name].over == "rows", targets.shape[0]
    has_labels = over_rows and targets.ndim == 1
    each = 1 if over_rows else targets.size // max(rows, 1)
    labels = targets if has_labels else NO_LABELS
    channel = _NONE if channel_weight is None or not has_labels else channel_weight
    sample = _NONE if sample_weight is None else sample_weight
    ignored = NO_CLASS if ignore_index is None or not has_labels else int(ignore_index)
    weights = workspace.empty((rows,), np.float64)
    launch(weigh_rows, 1, labels, channel, sample, ignored, True, each, weights, out)
