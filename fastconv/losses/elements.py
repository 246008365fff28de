"""Losses over elements, each of which has a target: targets are shaped as the predictions, (N, ...), and of their type.

The mean is over all elements, those of a row counting its weight.
"""

from __future__ import annotations

from fastconv import _validate as validate
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import DTypeError
from fastconv.kernels.losses import LOSSES
from fastconv.losses.listed import ListedLoss, LossWeights

_OF_CLASSES = tuple(function.layer for function in LOSSES.values() if function.over == "rows")


class ElementLoss(ListedLoss):
    """A loss of predictions and targets of one shape."""

    def checked_targets(self, targets: Array, shape: Shape, dtype: DType) -> Array:
        backend = get_backend()
        validate.owned(backend, targets, "targets")
        if targets.dtype.kind in "iu" and targets.ndim == 1 and len(shape) == 2 and shape[1] > 1:
            wanted = f"{dtype} {shape}, that of predictions (classes: {', '.join(_OF_CLASSES)})"
            raise DTypeError(f"targets: got class numbers, {targets.dtype} {targets.shape}; allowed: {wanted}")
        targets = validate.floating(backend, targets, "targets")
        validate.has_dtype(targets, "targets", dtype, "the dtype of predictions")
        validate.has_shape(targets, "targets", shape, "that of predictions")
        if self.function.highest is not None and backend.on_host:
            validate.within(targets, "targets", 0, self.function.highest)
        return targets


class BinaryCrossEntropy(ElementLoss):
    """Cross-entropy of the logistic function of each logit, of several labels that hold or do not.

    ``-(pos_weight * t * log(sigmoid(x)) + (1 - t) * log(1 - sigmoid(x)))``, t from 0 to 1, computed without overflow
    and without cancellation.

    Parameters
    ----------
    pos_weight : float, sequence of float, or None
        How much more what holds counts, for all of the last axis or for each.
    reduction : "mean" or "sum"
        Over the elements.

    Examples
    --------
    >>> value, grad = fc.losses.BinaryCrossEntropy()(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    >>> float(value.round(4)), grad
    (0.6931, array([[-0.25,  0.25]]))
    """

    pos_weight: tuple[float, ...] | float | None
    function = LOSSES["binary_cross_entropy"]

    def __init__(self, *, pos_weight: LossWeights = None, reduction: str = "mean") -> None:
        super().__init__(pos_weight=pos_weight, reduction=reduction)


class MeanSquaredError(ElementLoss):
    """``(x - t)**2`` of each element.

    Parameters
    ----------
    reduction : "mean" or "sum"
        Over the elements.

    Examples
    --------
    >>> value, grad = fc.losses.MeanSquaredError()(np.array([[1.0, 4.0]]), np.array([[0.0, 4.0]]))
    >>> float(value), grad
    (0.5, array([[1., 0.]]))
    """

    function = LOSSES["mean_squared_error"]

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class MeanAbsoluteError(ElementLoss):
    """``|x - t|`` of each element, whose gradient is the sign, 0 where they are equal.

    Parameters
    ----------
    reduction : "mean" or "sum"
        Over the elements.

    Examples
    --------
    >>> value, grad = fc.losses.MeanAbsoluteError()(np.array([[1.0, 4.0]]), np.array([[0.0, 4.0]]))
    >>> float(value), grad
    (0.5, array([[0.5, 0. ]]))
    """

    function = LOSSES["mean_absolute_error"]

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class Huber(ElementLoss):
    """``(x - t)**2 / 2`` up to a distance of `delta`, and from there on along the tangent: few outliers move it little.

    ``delta * (|x - t| - delta / 2)`` there, as PyTorch's HuberLoss (Huber 1964).

    Parameters
    ----------
    delta : float
        Above 0.
    reduction : "mean" or "sum"
        Over the elements.

    Examples
    --------
    >>> value, grad = fc.losses.Huber(1.0, reduction="sum")(np.array([[0.5, 4.0]]), np.zeros((1, 2)))
    >>> float(value), grad
    (3.625, array([[0.5, 1. ]]))
    """

    delta: float
    function = LOSSES["huber"]

    def __init__(self, delta: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(delta=delta, reduction=reduction)
