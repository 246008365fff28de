"""Softmax cross-entropy with its gradient, and counting right answers: a warp for each row."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import THREADS, typed

_WARPS = 4  # rows of a block


def softmax_cross_entropy(device, logits, labels, *, label_smoothing, loss, grad_logits, workspace):
    """Mean loss and its gradient."""
    rows, classes = logits.shape
    losses = workspace.empty((max(rows, 1),), np.float64)
    if rows:
        sizes = (np.int64(rows), np.int32(classes), np.float64(label_smoothing))
        arguments = (logits, labels, grad_logits, losses, *sizes)
        kernel = typed("softmax.cu", "softmax_cross_entropy_rows", logits.dtype)
        device.launch(kernel, *_warps(rows), arguments)
    kernel = typed("softmax.cu", "mean_loss", logits.dtype)
    device.launch(kernel, (1, 1, 1), (THREADS, 1, 1), (losses, loss, np.int64(rows)))


def count_correct(device, logits, labels, *, out):
    """Number of rows whose largest logit is at the label."""
    rows, classes = logits.shape
    if rows:
        arguments = (logits, labels, out, np.int64(rows), np.int32(classes))
        device.launch(typed("softmax.cu", "count_correct_rows", logits.dtype), *_warps(rows), arguments)


def _warps(rows):
    return (-(-rows // _WARPS), 1, 1), (32 * _WARPS, 1, 1)
