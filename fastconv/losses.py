"""Cost functions: called with predictions and targets, they return the loss and its gradient."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared, computes_as, is_ours
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, ShapeError


class Loss(Protocol):
    """What `Trainer` takes for a loss: a function, say. Steps with one are captured if it is a `DeclaredLoss`."""

    def __call__(self, predictions: Array, targets: Array, /) -> tuple[Array, Array]:
        """Return the loss, a () array, and its gradient with respect to the predictions."""
        ...


@dataclass(frozen=True)
class Targets:
    """What targets a loss takes: shape and type of the array."""

    shape: Shape
    dtype: DType


class DeclaredLoss(Declared):
    """A loss that says what it takes and what decides what it gives, so that steps of training can be captured.

    It computes on the backend alone. A class derived from one of fastconv's with a ``__call__`` of its own defines
    `settings` along with it; else steps with it are not captured.
    """

    @abc.abstractmethod
    def __call__(self, predictions: Array, targets: Array, /) -> tuple[Array, Array]:
        """Return the loss, a () array, and its gradient with respect to the predictions."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all that decides what it gives, beside predictions and targets."""

    @abc.abstractmethod
    def targets(self, predictions: Targets) -> Targets:
        """Return what targets belong to predictions of this shape and type."""

    @abc.abstractmethod
    def checked_targets(self, targets: Array, shape: Shape) -> Array:
        """Return targets for predictions of `shape` in the form of `targets`, or say what is wrong with them."""


def loss_and_grad(loss: Loss, predictions: Array, targets: Array) -> tuple[Array, Array]:
    """Return what `loss` gives for predictions of the active backend, as two arrays of it and of their type.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        It returned something else than a number and a gradient.
    """
    result = loss(predictions, targets)
    if is_ours(computes_as(type(loss))):
        return result  # as it promises
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError(
            f"loss: got {type(result).__name__} from {loss!r}; allowed: a pair, the loss and its gradient with respect"
            " to the predictions"
        )
    value, grad = result
    backend = get_backend()
    if not backend.owns(value) or value.dtype != predictions.dtype:
        try:
            value = backend.asarray(value, predictions.dtype)
        except (TypeError, ValueError):
            raise ArgumentError(f"loss: got {value!r} from {loss!r}; allowed: a number, or a () array") from None
    if value.size != 1:
        raise ShapeError(
            f"loss: got shape {tuple(value.shape)} from {loss!r}; allowed: one number, the mean over the batch"
        )
    grad = validate.like(backend, grad, "gradient of the loss", predictions, "the predictions")
    validate.has_shape(grad, "gradient of the loss", predictions.shape, "that of the predictions")
    return value.reshape(()), grad


class SoftmaxCrossEntropy(DeclaredLoss):
    """Mean over the batch of the cross-entropy of the softmax.

    ``loss = -1/N * sum over n, k of target[n, k] * log(softmax(logits)[n, k])`` with
    ``target = (1 - label_smoothing) * onehot(label) + label_smoothing / K`` (https://arxiv.org/abs/1512.00567).

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = validate.number(label_smoothing, "label_smoothing", low=0, high=1)

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """Return loss, (), and grad_logits, (N, K), for logits (N, K) and integer labels (N,), each in [0, K).

        On a GPU the range of the labels is not checked: to look at them would wait for the device.
        """
        backend = get_backend()
        logits = validate.floating(backend, logits, "logits", "(N, K)")
        validate.not_empty(logits.shape, "logits")
        labels = self.checked_targets(labels, logits.shape)
        loss, grad = backend.empty((), logits.dtype), backend.empty(logits.shape, logits.dtype)
        backend.softmax_cross_entropy(
            logits,
            labels,
            label_smoothing=self.label_smoothing,
            loss=loss,
            grad_logits=grad,
            workspace=backend.pool,
        )
        return loss, grad

    def settings(self) -> dict[str, Any]:
        """Return the argument."""
        return {"label_smoothing": self.label_smoothing}

    def targets(self, predictions: Targets) -> Targets:
        """(N, K) -> (N,), int32."""
        return Targets(predictions.shape[:1], np.dtype(np.int32))

    def checked_targets(self, labels: Array, shape: Shape) -> Array:
        """Return labels for logits of `shape` as the operation takes them, or say what is wrong with them."""
        backend = get_backend()
        if backend.on_host:
            return validate.labels(backend, labels, "labels", batch=shape[0], classes=shape[1])
        labels = backend.asarray(validate.integer(backend, labels, "labels", "(N,)"), "int32")
        validate.has_shape(labels, "labels", shape[:1], "one for each row of logits")
        return labels

    def __repr__(self) -> str:
        return f"SoftmaxCrossEntropy(label_smoothing={self.label_smoothing:g})"
