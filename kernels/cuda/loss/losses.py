"""Losses and their gradients: over elements a chunk a block, over rows a warp for each."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...losses import NO_CLASS
from ..runtime.grids import THREADS, typed

WARPS = 4  # rows of a block
_CHUNK = 4096  # elements of a block, as losses.cu has it


def warps(rows):
    """Return grid and block for a warp a row."""
    return (-(-rows // WARPS), 1, 1), (32 * WARPS, 1, 1)


def loss_and_grad(
    device,
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
    count = partial(
        *(_count_rows, device, predictions.shape[0], predictions.dtype),
        sample=sample_weight,
        mean=mean,
        workspace=workspace,
        whole=divisor if mean else None,
    )
    arrays = (predictions, targets, channel_weight, grad)
    if chosen.function.over == "rows":
        losses, counted = _over_rows(device, chosen, arrays, partial(count, ignored=ignore_index), workspace)
    else:
        losses, counted = _over_elements(device, chosen, arrays, count, workspace)
    kernel = typed("losses.cu", "sum_losses", predictions.dtype)
    arguments = (losses, loss, *counted[1:], np.int64(losses.size if predictions.size else 0))
    device.launch(kernel, (1, 1, 1), (THREADS, 1, 1), arguments)


def _over_rows(device, chosen, arrays, count, workspace):
    scores, targets, channel, grad = arrays
    rows, classes = scores.shape
    has_labels, of_softmax = targets.ndim == 1, chosen.name == "softmax_cross_entropy"
    # Where the target is one class alone, its weight is one of the row.
    plain = has_labels and (channel is None or not of_softmax or chosen.values[0] == 0)
    counted = count(labels=targets if has_labels else None, channel=channel, of_classes=plain)
    losses = workspace.empty((max(rows, 1),), np.float64)
    if not rows:
        return losses, counted
    name = f"{chosen.name}_rows" if plain else f"{chosen.name}_targets"
    given = (targets,) if plain else ((targets, None) if has_labels else (None, targets))
    given = given if plain else (*given, channel)
    kernel = typed("softmax.cu" if of_softmax else "losses.cu", name, scores.dtype)
    sizes = (np.int64(rows), np.int32(classes), *map(np.float64, chosen.values))
    device.launch(kernel, *warps(rows), (scores, *given, grad, losses, *counted, *sizes))
    return losses, counted


def _over_elements(device, chosen, arrays, count, workspace):
    x, targets, channel, grad = arrays
    row = x.size // max(x.shape[0], 1)
    counted, blocks = count(each=row), -(-x.size // _CHUNK)
    losses = workspace.empty((max(blocks, 1),), np.float64)
    if blocks:
        kernel = typed("losses.cu", f"{chosen.name}_elements", x.dtype)
        sizes = (np.int64(x.size), np.int64(row), np.int32(x.shape[-1]), np.float64((*chosen.values, 0)[0]))
        arguments = (x, targets, channel, grad, losses, *counted, *sizes)
        device.launch(kernel, (blocks, 1, 1), (THREADS, 1, 1), arguments)
    return losses, counted


def loss_divisor(device, chosen, targets, *, channel_weight, sample_weight, ignore_index, out, workspace):
    """What the mean of a loss over these targets divides by."""
    over_rows, rows = chosen.function.over == "rows", targets.shape[0]
    labels = targets if over_rows and targets.ndim == 1 else None
    weights = workspace.empty((max(rows, 1),), np.float64)
    counted = (labels, None if labels is None else channel_weight, sample_weight, weights, out)
    dtype = next((array.dtype for array in (channel_weight, sample_weight) if array is not None), np.float32)
    each = 1 if over_rows else targets.size // max(rows, 1)
    _weigh(device, dtype, counted, rows, None if labels is None else ignore_index, True, each)


def _count_rows(
    device,
    rows,
    dtype,
    *,
    sample,
    mean,
    workspace,
    labels=None,
    channel=None,
    ignored=None,
    of_classes=False,
    each=1,
    whole=None,
):
    """Return what rows count: weights, None if all are 1; the divisor as an array, or None, and as a number.

    A divisor that is given as `whole` takes the place of the batch's own.
    """
    if not rows or (ignored is None and sample is None and (labels is None or channel is None)):
        return None, whole, np.float64(rows * each if mean else 1)
    weights, total = workspace.empty((rows,), np.float64), workspace.empty((1,), np.float64)
    _weigh(device, dtype, (labels, channel, sample, weights, total), rows, ignored, of_classes, each)
    return weights, whole if whole is not None else total if mean else None, np.float64(1)


def _weigh(device, dtype, arrays, rows, ignored, of_classes, each):
    """Launch ``weigh_rows(labels, channel, sample, weights, total)``."""
    settings = (np.int64(NO_CLASS if ignored is None else ignored), np.int32(of_classes), np.float64(each))
    kernel = typed("losses.cu", "weigh_rows", dtype)
    device.launch(kernel, (1, 1, 1), (THREADS, 1, 1), (*arrays, np.int64(rows), *settings))
