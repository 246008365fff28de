"""Losses and their gradients: over elements a chunk a block, over rows a warp for each."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...losses import LOSSES
from ..runtime.grids import THREADS, typed

WARPS = 4  # rows of a block
_CHUNK = 4096  # elements of a block, as losses.cu has it
_NO_CLASS = -(2**40)


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
    )
    arrays = (predictions, targets, channel_weight, grad)
    if LOSSES[chosen.name].over == "rows":
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


def _count_rows(
    device, rows, dtype, *, sample, mean, workspace, labels=None, channel=None, ignored=None, of_classes=False, each=1
):
    """Return what rows count: weights, None if all are 1; the divisor as an array, or None, and as a number."""
    if not rows or (ignored is None and sample is None and (labels is None or channel is None)):
        return None, None, np.float64(rows * each if mean else 1)
    weights, total = workspace.empty((rows,), np.float64), workspace.empty((1,), np.float64)
    kernel = typed("losses.cu", "weigh_rows", dtype)
    settings = (np.int64(_NO_CLASS if ignored is None else ignored), np.int32(of_classes), np.float64(each))
    arrays = (labels, channel, sample, weights, total)
    device.launch(kernel, (1, 1, 1), (THREADS, 1, 1), (*arrays, np.int64(rows), *settings))
    return weights, total if mean else None, np.float64(1)
