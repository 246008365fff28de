"""What metrics are made of: counts of right and wrong classes, a warp a row, and sums of errors, a warp a column."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import typed
from .losses import warps


def count_correct(device, logits, labels, *, top, out):
    """Number of rows where the class of the label is among the first ones, and of all."""
    _launch(device, "count_correct_rows", logits, labels, out, np.int32(min(top, 2**31 - 1)))


def count_confusions(device, logits, labels, *, out):
    """Number of rows by label and first class."""
    _launch(device, "count_confusion_rows", logits, labels, out)


def sum_errors(device, predictions, targets, *, out):
    """Sums of errors, and of the targets' distances from the first."""
    _launch(device, "sum_error_columns", predictions, targets, out, of_columns=True)


def _launch(device, name, x, targets, out, *settings, of_columns=False):
    rows, columns = x.shape
    if rows:
        kernel = typed("metrics.cu", name, x.dtype)
        arguments = (x, targets, out, np.int64(rows), np.int32(columns), *settings)
        device.launch(kernel, *warps(columns if of_columns else rows), arguments)
