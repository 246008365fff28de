"""Metrics of scores, (N, K), and class numbers, (N,): the class predicted is that of the largest score.

Rows whose label is not in [0, K), such as the `ignore_index` of a loss, are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.metrics.metric import Metric, Sums

_AVERAGES = ("macro", "weighted")


class _OfClasses(Sums):
    def misfit(self, predictions: Array, targets: Array) -> str:
        """Return what they must be if they do not fit."""
        fit = predictions.ndim == 2 and targets.ndim == 1 and targets.dtype.kind in "iu"
        return "" if fit and len(predictions) == len(targets) else "scores, (N, K), and class numbers, (N,)"


def _labels(backend: Backend, targets: Array) -> Array:
    """Return class numbers as int32; one that does not fit into it stays what no class has."""
    if not np.can_cast(targets.dtype, np.int32):
        targets = targets.clip(-1 if targets.dtype.kind == "i" else 0, np.iinfo(np.int32).max)
    return backend.asarray(targets, np.int32)


@dataclass(frozen=True)
class Hits(_OfClasses):
    """How many rows have the class of their label among the `top` first ones, and how many rows there are."""

    top: int = 1

    def misfit(self, predictions: Array, targets: Array) -> str:
        """Return what they must be if they do not fit."""
        return super().misfit(predictions, targets) or (
            "" if self.top <= predictions.shape[1] else f"scores of at least k = {self.top} classes"
        )

    def zeros(self, predictions: Array) -> np.ndarray:
        """(2,)."""
        return np.zeros(2, np.int64)

    def add(self, backend: Backend, predictions: Array, targets: Array, out: Array) -> None:
        """Add a batch."""
        backend.count_correct(predictions, _labels(backend, targets), top=self.top, out=out)


@dataclass(frozen=True)
class Confusions(_OfClasses):
    """How many rows there are of each label and class predicted."""

    def zeros(self, predictions: Array) -> np.ndarray:
        """(K, K)."""
        return np.zeros((predictions.shape[1],) * 2, np.int64)

    def add(self, backend: Backend, predictions: Array, targets: Array, out: Array) -> None:
        """Add a batch."""
        backend.count_confusions(predictions, _labels(backend, targets), out=out)


class Accuracy(Metric):
    """Share of the rows whose largest score is that of their label; of equal ones the first counts.

    Examples
    --------
    >>> scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    >>> metric = fc.metrics.Accuracy()
    >>> metric(scores, np.array([1, 1, 1]))
    0.6666666666666666
    """

    def __init__(self) -> None:
        self.name, self.sums = "accuracy", Hits()

    def value(self, sums: np.ndarray) -> float:
        return int(sums[0]) / int(sums[1]) if sums[1] else math.nan


class TopKAccuracy(Accuracy):
    """Share of the rows whose label is among the `k` largest scores, called ``"top5_accuracy"`` for k = 5.

    Parameters
    ----------
    k : int
        At least 1, at most the number of classes.

    Examples
    --------
    >>> scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> fc.metrics.TopKAccuracy(2)(scores, np.array([1, 2]))
    0.5
    """

    _shown = ("k",)

    def __init__(self, k: int = 5) -> None:
        self.k = validate.at_least_one(k, "k")
        self.name, self.sums = f"top{k}_accuracy", Hits(self.k)


class ConfusionMatrix(Metric):
    """(K, K) counts: row y, column k for the label y and the class k predicted. `Trainer.evaluate` gives it.

    Examples
    --------
    >>> scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    >>> fc.metrics.ConfusionMatrix()(scores, np.array([1, 1, 1]))
    array([[0, 0],
           [1, 2]])
    """

    def __init__(self) -> None:
        self.name, self.sums = "confusion_matrix", Confusions()

    def value(self, sums: np.ndarray) -> np.ndarray:
        return np.array(sums)

    def quantities(self, width: int) -> tuple[str, ...]:
        return ()


class _OfConfusions(Metric):
    """A ratio for each class, 0 where there is nothing to divide by, or a mean of them."""

    _called: str
    _shown = ("average",)

    def __init__(self, average: str | None = "macro") -> None:
        if average is not None and not (isinstance(average, str) and average in _AVERAGES):
            raise ArgumentError(f"average: got {validate.shown(average)}; allowed: 'macro', 'weighted' or None")
        self.average = average
        self.name, self.sums = self._called, Confusions()

    def quantities(self, width: int) -> tuple[str, ...]:
        return (self.name,) if self.average else tuple(f"{self.name}_{k}" for k in range(width))

    def value(self, sums: np.ndarray) -> float | np.ndarray:
        hits, labels, predicted = np.diagonal(sums), sums.sum(axis=1), sums.sum(axis=0)
        above, below = self._ratio(hits, labels, predicted)
        ratios = np.divide(above, below, out=np.zeros(len(sums)), where=below > 0)
        if self.average is None:
            return np.asarray(ratios)
        weights = labels if self.average == "weighted" else (labels + predicted > 0)
        return float((ratios * weights).sum() / weights.sum()) if weights.any() else math.nan

    @staticmethod
    def _ratio(hits: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


class Precision(_OfConfusions):
    """Of the rows predicted to be of a class, the share that is: ``hits / predicted``.

    Parameters
    ----------
    average : "macro", "weighted" or None
        The mean over the classes that occur among labels or predictions, each alike or by its number of labels; None:
        no mean but a number for each class, ``precision_0`` and so on in the history. A class that is never predicted
        has precision 0.

    Examples
    --------
    >>> scores, labels = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 1, 0])
    >>> fc.metrics.Precision(average=None)(scores, labels)
    array([0. , 0.5])
    """

    _called = "precision"

    @staticmethod
    def _ratio(hits: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hits, predicted


class Recall(_OfConfusions):
    """Of the rows of a class, the share that was found: ``hits / labels``.

    Parameters
    ----------
    average : "macro", "weighted" or None
        As of `Precision`.

    Examples
    --------
    >>> scores, labels = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 1, 0])
    >>> fc.metrics.Recall(average=None)(scores, labels)
    array([0. , 0.5])
    """

    _called = "recall"

    @staticmethod
    def _ratio(hits: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hits, labels


class F1(_OfConfusions):
    """Harmonic mean of precision and recall of a class: ``2 * hits / (labels + predicted)``.

    Parameters
    ----------
    average : "macro", "weighted" or None
        As of `Precision`.

    Examples
    --------
    >>> scores, labels = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 1, 0])
    >>> fc.metrics.F1()(scores, labels)
    0.25
    """

    _called = "f1"

    @staticmethod
    def _ratio(hits: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 2 * hits, labels + predicted
