"""What a loss is: called with predictions and targets, it returns a number and its gradient."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from fastconv import _validate as validate
from fastconv._attributes import Declared, computes_as, is_ours
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, ShapeError


class Loss(Protocol):
    """What `Trainer` takes for a loss: a function, say. Steps with one are captured if it is a `DeclaredLoss`."""

    def __call__(self, predictions: Array, targets: Array, /) -> tuple[Array, Array]:
        """Return the loss, a () array, and its gradient with respect to the predictions.

        Where rows have weights, (N,), they come as a third argument; who has none needs none.
        """
        ...


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
    def checked_targets(self, targets: Array, shape: Shape, dtype: DType) -> Array:
        """Return targets as they are computed with, or say what is wrong with them.

        `shape` and `dtype` are those of the predictions. Shape and type of the result depend on those of its arguments
        alone.
        """


def _weighted(loss: Any) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """Return a loss that takes weights; ArgumentError if it does not."""
    try:
        inspect.signature(loss).bind(None, None, None)
    except TypeError:
        raise ArgumentError(
            f"sample_weight: got weights with {loss!r}, which takes none; allowed: with a loss to call with"
            " (predictions, targets, sample_weight), as fastconv's are"
        ) from None
    except ValueError:  # a function written in C, which does not say what it takes
        pass
    weighted: Callable[[Array, Array, Array], tuple[Array, Array]] = loss
    return weighted


def loss_and_grad(
    loss: Loss, predictions: Array, targets: Array, sample_weight: Array | None = None
) -> tuple[Array, Array]:
    """Return what `loss` gives for predictions of the active backend, as two arrays of it and of their type.

    It is called with weights of rows as a third argument, only if there are some.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        It returned something else than a number and a gradient.
    """
    result = (
        loss(predictions, targets) if sample_weight is None else _weighted(loss)(predictions, targets, sample_weight)
    )
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
