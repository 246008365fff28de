"""Metrics of predictions and targets that are numbers, arrays of one shape and type, (N, ...)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.metrics.metric import Metric, Sums


@dataclass(frozen=True)
class Errors(Sums):
    """Sums of errors and of the targets' distances, for each place in a row: those of the operation `sum_errors`."""

    def misfit(self, predictions: Array, targets: Array) -> str:
        """Return what they must be if they do not fit."""
        fit = predictions.shape == targets.shape and predictions.dtype == targets.dtype and predictions.ndim
        return "" if fit else "two arrays of one shape and type, (N, ...)"

    def zeros(self, predictions: Array) -> np.ndarray:
        """(7, elements of a row)."""
        return np.zeros((7, math.prod(predictions.shape[1:])))

    def add(self, backend: Backend, predictions: Array, targets: Array, out: Array) -> None:
        """Add a batch."""
        rows = (len(predictions), out.shape[1])
        backend.sum_errors(predictions.reshape(rows), backend.asarray(targets).reshape(rows), out=out)


class MeanBiasError(Metric):
    """``mean of x - t``: whether predictions are too high or too low on the whole.

    It is no loss: its gradient is the same constant whatever the errors are, so training by it lowers all predictions
    without end, and it is 0 for any errors that cancel.

    Examples
    --------
    >>> fc.metrics.MeanBiasError()(np.array([[1.0], [4.0]]), np.array([[0.0], [6.0]]))
    -0.5
    """

    why = (
        "; the gradient of the mean bias error is a constant, so training by it would lower all predictions without"
        " end, and errors of opposite signs cancel: take MeanSquaredError() or MeanAbsoluteError()"
    )

    def __init__(self) -> None:
        self.name, self.sums = "mean_bias_error", Errors()

    def value(self, sums: np.ndarray) -> float:
        return _mean(sums, 2)

    def score(self, value: float) -> float:
        return -abs(value)


class MeanAbsoluteError(Metric):
    """``mean of |x - t|``.

    Examples
    --------
    >>> fc.metrics.MeanAbsoluteError()(np.array([[1.0], [4.0]]), np.array([[0.0], [6.0]]))
    1.5
    """

    def __init__(self) -> None:
        self.name, self.sums = "mean_absolute_error", Errors()

    def value(self, sums: np.ndarray) -> float:
        return _mean(sums, 3)

    def score(self, value: float) -> float:
        return -value


class R2Score(Metric):
    """Coefficient of determination, ``1 - sum (x - t)**2 / sum (t - mean t)**2``: the mean over the places in a row.

    1 at best, 0 for predicting the mean; where all targets are equal 1 if all are met, else 0.

    Examples
    --------
    >>> fc.metrics.R2Score()(np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]]))
    0.5
    """

    def __init__(self) -> None:
        self.name, self.sums = "r2", Errors()

    def value(self, sums: np.ndarray) -> float:
        count, left, distance, square = sums[0], sums[4], sums[5], sums[6]
        if not count.sum():
            return math.nan
        around = square - distance**2 / count
        share = np.divide(left, around, out=np.where(left == 0, 0.0, 1.0), where=around > 0)
        return float(1 - share.mean())


def _mean(sums: np.ndarray, row: int) -> float:
    count = sums[0].sum()
    return float(sums[row].sum() / count) if count else math.nan
