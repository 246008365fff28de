"""Losses and their gradients: the kernel for each kind, then one that adds up what tasks found, in order."""

from functools import partial

import numpy as np

from ..runtime.launch import kernel, launch
from ..vector.memory import TASK_ELEMENTS
from ..vector.simd import VECTOR_BYTES
from ..vector.sums import sum_of_numbers
from .elements import ELEMENTS
from .rows import MARGIN_ROWS
from .softmax import softmax_cross_entropy_rows, softmax_cross_entropy_targets
from .weights import NO_LABELS, count_rows, tasks_of

_ROWS = {"softmax_cross_entropy": softmax_cross_entropy_rows, **MARGIN_ROWS}


@kernel
def sum_losses(begin, end, losses, loss):
    """The parts in order, in one task."""
    loss[0] = sum_of_numbers(losses)


def loss_and_grad(
    chosen,
    predictions,
    targets,
    *,
    channel_weight,
    sample_weight,
    ignore_index,
    mean,
    divisor=None,
    loss,
    grad,
    workspace,
):
    """One of the losses, and its gradient."""
    empty = predictions.reshape(-1)[:0]
    channel = empty if channel_weight is None else channel_weight
    sample = empty if sample_weight is None else sample_weight
    whole = divisor if mean else None
    count = partial(count_rows, sample=sample, mean=mean, rows=predictions.shape[0], workspace=workspace, whole=whole)
    if chosen.function.over == "rows":
        count = partial(count, ignored=ignore_index)
        losses = _over_rows(chosen, predictions, targets, channel, count, grad, workspace)
    else:
        losses = _over_elements(chosen, predictions, targets, channel, count, grad, workspace)
    launch(sum_losses, 1, losses, loss.reshape(1))


def _over_rows(chosen, scores, targets, channel, count, grad, workspace):
    rows, classes = scores.shape
    labels = targets if targets.ndim == 1 else NO_LABELS
    smoothed = chosen.name == "softmax_cross_entropy" and chosen.values[0] > 0
    # Where the target is one class alone, its weight is one of the row.
    plain = labels is targets and not (channel.size and smoothed)
    counted = count(labels=labels, channel=channel, of_classes=plain)
    losses = workspace.empty((tasks_of(rows, classes),), np.float64)
    rest = (chosen.values, *counted, losses, grad)
    if not plain:
        soft = scores[:0] if labels is targets else targets
        weights = channel if channel.size else np.ones(VECTOR_BYTES // scores.itemsize, scores.dtype)
        launch(softmax_cross_entropy_targets, losses.size, scores, labels, soft, weights, *rest)
    else:
        launch(_ROWS[chosen.name], losses.size, scores, labels, *rest)
    return losses


def _over_elements(chosen, predictions, targets, channel, count, grad, workspace):
    x = predictions.reshape(-1)
    row = x.size // max(predictions.shape[0], 1)
    counted = count(each=row)
    losses = workspace.empty((-(-x.size // TASK_ELEMENTS),), np.float64)
    arrays = (x, targets.reshape(-1), channel, chosen.values, row, *counted, losses, grad.reshape(-1))
    launch(ELEMENTS[chosen.name], losses.size, *arrays)
    return losses
