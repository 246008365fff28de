"""What a loss is: called with predictions and targets, it returns a number and its gradient."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared, computes_as, is_ours
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, ShapeError


class Loss(Protocol):
    """What `Trainer` takes for a loss: a function, say. Steps with one are captured if it is a `DeclaredLoss`.

    Examples
    --------
    >>> def squared(predictions, targets):
    ...     difference = predictions - targets
    ...     return (difference**2).mean(), 2 * difference / difference.size
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((2,))
    >>> trainer = fc.Trainer(model, squared, fc.optim.SGD(model.parameters(), 0.1))
    >>> x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    >>> history = trainer.fit((x, y), 20)
    >>> history.history["loss"][-1] < 1e-3
    True
    """

    def __call__(self, predictions: Array, targets: Array, /) -> tuple[Array, Array]:
        """Return the loss, a () array, and its gradient with respect to the predictions.

        Where rows have weights, (N,), they come as a third argument; who has none needs none.
        """
        ...


class DeclaredLoss(Declared):
    """A loss that says what it takes and what decides what it gives, so that steps of training can be captured.

    It computes on the backend alone. A class derived from one of fastconv's with a ``__call__`` of its own defines
    `settings` along with it; else steps with it are not captured.

    Examples
    --------
    >>> class LogCosh(fc.losses.DeclaredLoss):
    ...     def __call__(self, predictions, targets):
    ...         difference = predictions - targets
    ...         return np.log(np.cosh(difference)).mean(), np.tanh(difference) / difference.size
    ...     def settings(self):
    ...         return {}
    ...     def checked_targets(self, targets, shape, dtype):
    ...         return targets
    >>> loss, grad = LogCosh()(np.array([[1.0]]), np.array([[0.0]]))
    >>> round(float(loss), 4), grad.round(4)
    (0.4338, array([[0.7616]]))
    """

    by_class: ClassVar[frozenset[str]] = frozenset(("settings", "computed"))
    argument_habits: ClassVar[Mapping[str, str]] = {"weight": "class_weight"}
    absent: ClassVar[Mapping[str, str]] = {
        "from_logits": "nothing: predictions are logits; leave the last softmax or sigmoid out",
        "size_average": "reduction='mean' or 'sum'",
        "beta": "delta, and Huber(delta) is delta times SmoothL1Loss(beta=delta)",
        "name": "a name where it is kept",
    }

    @abc.abstractmethod
    def __call__(self, predictions: Array, targets: Array, /) -> tuple[Array, Array]:
        """Return the loss, a () array, and its gradient with respect to the predictions."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all that decides what it gives, beside predictions and targets.

        Returns
        -------
        dict
            The arguments, by name.
        """

    @abc.abstractmethod
    def checked_targets(self, targets: Array, shape: Shape, dtype: DType) -> Array:
        """Return targets as they are computed with, or say what is wrong with them.

        Shape and type of the result depend on those of the arguments alone.

        Parameters
        ----------
        targets : array
            As they came.
        shape : tuple of int
            Of the predictions.
        dtype : dtype
            Of the predictions.

        Returns
        -------
        array
            In memory as the backend wants it.
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

    Parameters
    ----------
    loss : Loss
        What is called.
    predictions : array
        A row for each sample.
    targets : array
        As the loss takes them.
    sample_weight : (N,) array or None
        What each row counts.

    Returns
    -------
    loss : () array
        Of the backend, in the type of the predictions.
    grad : array
        Shaped as the predictions.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        It returned something else than a number and a gradient.

    Examples
    --------
    >>> def distance(predictions, targets):
    ...     return 3, np.sign(predictions - targets)
    >>> fc.losses.loss_and_grad(distance, np.array([[2.0]]), np.array([[1.0]]))
    (array(3.), array([[1.]]))
    """
    if not callable(loss):
        raise ArgumentError(
            f"loss: got {validate.shown(loss)}; allowed: one of fastconv.losses, such as MeanSquaredError(), or another"
        )
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
            if (value if backend.owns(value) else np.asarray(value)).dtype.kind not in "biuf":
                raise TypeError
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
