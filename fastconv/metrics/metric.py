"""What a metric is: sums over batches, which stay on the device, and what is made of them at the end."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv._calls import OF_LOSSES, tells_habits
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError


class Sums(abc.ABC):
    """What is summed over batches, on the device; metrics whose sums are equal share them.

    Examples
    --------
    >>> sums = fc.metrics.Accuracy().sums
    >>> scores, labels = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])
    >>> total = fc.asarray(sums.zeros(scores))
    >>> sums.add(fc.get_backend(), scores, labels, out=total)
    >>> total
    array([1, 2])
    """

    @abc.abstractmethod
    def misfit(self, predictions: Array, targets: Array) -> str:
        """Return what targets and predictions must be if these do not fit, else nothing.

        Parameters
        ----------
        predictions, targets : array
            A batch.

        Returns
        -------
        str
            "" if they fit.
        """

    @abc.abstractmethod
    def zeros(self, predictions: Array) -> np.ndarray:
        """Return the sums over no rows, for predictions like these.

        Parameters
        ----------
        predictions : array
            A batch, of which the shape counts.

        Returns
        -------
        numpy.ndarray
            Of the type that sums have.
        """

    @abc.abstractmethod
    def add(self, backend: Backend, predictions: Array, targets: Array, out: Array) -> None:
        """Add a batch to `out`, an array of the backend.

        Parameters
        ----------
        backend : Backend
            Which computes.
        predictions, targets : array
            A batch.
        out : array
            What is added to.
        """


class Metric(Declared):
    """A number, or an array of numbers, about predictions and targets.

    It keeps nothing of what it was called with.

    Attributes
    ----------
    name : str
        In the history and in what `Trainer.evaluate` returns.
    sums : Sums
        What it is made from.
    why : str
        Why it is no loss, if there is more to say than that it has no gradient.

    Examples
    --------
    >>> class ErrorRate(fc.metrics.Accuracy):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.name = "error_rate"
    ...     def value(self, sums):
    ...         return 1 - super().value(sums)
    ...     def score(self, value):
    ...         return -value
    >>> ErrorRate()(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """

    name: str
    sums: Sums
    why = ""
    _shown: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def value(self, sums: np.ndarray) -> float | np.ndarray:
        """Return the metric from its sums; NaN of no rows.

        Parameters
        ----------
        sums : numpy.ndarray
            Over all rows.

        Returns
        -------
        float or numpy.ndarray
            NaN of no rows.
        """

    def score(self, value: float) -> float:
        """Return one of its numbers as one that is the larger the better.

        Parameters
        ----------
        value : float
            One of its numbers.

        Returns
        -------
        float
            The larger the better.
        """
        return value

    def quantities(self, width: int) -> tuple[str, ...]:
        """Return the names of its numbers in the history, for predictions with a last axis of `width`.

        Parameters
        ----------
        width : int
            The last axis of the predictions.

        Returns
        -------
        tuple of str
            One for each number.
        """
        return (self.name,)

    @tells_habits(OF_LOSSES)
    def __call__(self, predictions: Array, targets: Array) -> float | np.ndarray:
        """Return the metric over one batch of arrays of the active backend."""
        backend = get_backend()
        state = summed(backend, self, predictions, targets, None)
        return self.value(backend.to_numpy(state))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if name in self._shown)
        return f"{type(self).__name__}({settings})"


def summed(backend: Backend, metric: Metric, predictions: Array, targets: Array, state: Any) -> Array:
    """Add a batch to the sums of a metric, None at first, and return them.

    Raises
    ------
    ArgumentError
        Predictions or targets are not what the metric takes.
    DTypeError, BackendMismatchError
        They are no arrays of the backend, or the predictions are not float32 or float64.
    """
    predictions = validate.floating(backend, predictions, "predictions")
    validate.owned(backend, targets, "targets")
    targets = backend.asarray(targets)
    wanted = metric.sums.misfit(predictions, targets)
    if wanted:
        given = f"predictions {tuple(predictions.shape)} and targets {targets.dtype} {tuple(targets.shape)}"
        raise ArgumentError(f"{metric.name}: got {given}; allowed: {wanted}")
    if state is None:
        state = backend.asarray(metric.sums.zeros(predictions))
    metric.sums.add(backend, predictions, targets, state)
    return state
