"""What the losses of the list share: their settings, how they are called, and weights of samples and channels."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import OF_LOSSES, tells_habits
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.converting import on_host
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.kernels.losses import ChosenLoss, LossFunction
from fastconv.losses.loss import DeclaredLoss

LossWeights = Sequence[float] | np.ndarray | float | None
REDUCTIONS = ("mean", "sum")


class ListedLoss(DeclaredLoss):
    """A loss of `fastconv.kernels.losses`: what it is called with is checked here, once.

    Attributes
    ----------
    function : LossFunction
    reduction : str
    """

    function: ClassVar[LossFunction]
    scores: ClassVar[str] = "predictions"
    axes: ClassVar[str | None] = None
    reduction: str

    def __init__(self, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self, name, value)
        self._on_backends: dict[tuple[Any, ...], Array] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "reduction":
            validate.one_of(value, name, REDUCTIONS)
        if name == self.function.channel_weight:
            value = _checked_weights(value, name)
        for scalar in self.function.parameters:
            if name == scalar.name:
                value = validate.scalar(value, scalar)
        super().__setattr__(name, value)

    def _new_value(self, name: str, value: Any) -> Any:
        return value  # checked by __setattr__, as in __init__

    @property
    def chosen(self) -> ChosenLoss:
        """The loss with the values that its parameters have now."""
        return ChosenLoss(self.function.name, tuple(getattr(self, s.name) for s in self.function.parameters))

    def settings(self) -> dict[str, Any]:
        names = [scalar.name for scalar in self.function.parameters]
        names += [self.function.channel_weight] if self.function.channel_weight else []
        return {name: getattr(self, name) for name in (*names, "reduction")}

    @tells_habits(OF_LOSSES)
    def __call__(self, predictions: Array, targets: Array, sample_weight: Array | None = None) -> tuple[Array, Array]:
        """Return loss, (), and its gradient, shaped as the predictions.

        Parameters
        ----------
        predictions, targets : arrays
            As the class says. On a GPU the values of targets are not checked: to look at them would wait for the
            device.
        sample_weight : (N,) array or None
            At least 0 each. A row of weight 2 counts as two, in the mean as well; one of weight 0 is left out.
        """
        backend = get_backend()
        predictions = validate.floating(backend, predictions, self.scores, self.axes)
        if not predictions.ndim:
            raise ShapeError(f"{self.scores}: got shape (); allowed: (N, ...), a row for each sample")
        validate.not_empty(predictions.shape, self.scores)
        targets = self.checked_targets(targets, predictions.shape, predictions.dtype)
        if sample_weight is not None:
            sample_weight = self.checked_sample_weight(sample_weight, predictions.shape, predictions.dtype)
        return self.computed(predictions, targets, sample_weight)

    def computed(
        self, predictions: Array, targets: Array, sample_weight: Array | None, divisor: Array | None = None
    ) -> tuple[Array, Array]:
        """Return loss and gradient of what was checked.

        Parameters
        ----------
        predictions, targets : arrays
            As ``__call__`` has them after its checks.
        sample_weight : (N,) array or None
            What each row counts.
        divisor : (1,) float64 array or None
            What the mean divides by, where this is a part of a larger batch.

        Returns
        -------
        loss : () array
            In the type of the predictions.
        grad : array
            Shaped as the predictions.
        """
        backend = get_backend()
        loss, grad = backend.empty((), predictions.dtype), backend.empty(predictions.shape, predictions.dtype)
        backend.loss_and_grad(
            *(self.chosen, predictions, targets),
            channel_weight=self._channel_weight(backend, predictions.shape[-1], predictions.dtype),
            sample_weight=sample_weight,
            ignore_index=self._ignored(),
            mean=self.reduction == "mean",
            divisor=divisor,
            loss=loss,
            grad=grad,
            workspace=backend.pool,
        )
        return loss, grad

    def whole(self, targets: Array, shape: Shape, dtype: DType, sample_weight: Array | None) -> Whole:
        """Return what gives the loss of a batch piece by piece.

        Parameters
        ----------
        targets : array
            Of the whole batch.
        shape : tuple of int
            Of its predictions.
        dtype : dtype
            Of its predictions.
        sample_weight : (N,) array or None
            What each row counts.

        Returns
        -------
        Whole
            With the targets checked, and the divisor of the mean computed.
        """
        targets = self.checked_targets(targets, shape, dtype)
        if sample_weight is not None:
            sample_weight = self.checked_sample_weight(sample_weight, shape, dtype)
        divisor = self._divisor(targets, shape, dtype, sample_weight) if self.reduction == "mean" else None
        return Whole(self, targets, sample_weight, divisor)

    @property
    def weighs(self) -> bool:
        """Whether rows count differently by their targets: some are ignored, or classes have weights."""
        return self._ignored() is not None

    def counted(self, targets: Array, shape: Shape, dtype: DType, sample_weight: Array | None) -> Array:
        """Return what the mean over a batch divides by, 0 if nothing in it counts.

        Parameters
        ----------
        targets : array
            Of the batch.
        shape : tuple of int
            Of its predictions.
        dtype : dtype
            Of its predictions.
        sample_weight : (N,) array or None
            What each row counts.

        Returns
        -------
        (1,) float64 array
            Of the backend.
        """
        summed = self.of_part()
        targets = summed.checked_targets(targets, shape, dtype)
        if sample_weight is not None:
            sample_weight = summed.checked_sample_weight(sample_weight, shape, dtype)
        return self._divisor(targets, shape, dtype, sample_weight)

    def of_part(self) -> ListedLoss:
        """Return the loss that checks a part of a batch, in which nothing need count.

        Returns
        -------
        ListedLoss
            The same with ``reduction="sum"``.
        """
        summed = copy.copy(self)
        summed.reduction = "sum"
        return summed

    def _divisor(self, targets: Array, shape: Shape, dtype: DType, sample_weight: Array | None) -> Array:
        backend = get_backend()
        divisor = backend.empty((1,), np.float64)
        backend.loss_divisor(
            *(self.chosen, targets),
            channel_weight=self._channel_weight(backend, shape[-1], dtype),
            sample_weight=sample_weight,
            ignore_index=self._ignored(),
            out=divisor,
            workspace=backend.pool,
        )
        return divisor

    def _ignored(self) -> int | None:
        return None

    def _channel_weight(self, backend: Backend, width: int, dtype: DType) -> Array | None:
        """Return the weights of channels as an array of the backend, made once."""
        name = self.function.channel_weight
        values = getattr(self, name) if name else None
        if values is None:
            return None
        key = backend.name, dtype, width, values
        if key not in self._on_backends:
            if isinstance(values, tuple) and len(values) != width:
                raise ShapeError(
                    f"{name}: got {len(values)} weights; allowed: {width}, as the last axis of {self.scores}"
                )
            self._on_backends[key] = backend.asarray(np.broadcast_to(np.array(values, dtype), width).copy())
        return self._on_backends[key]

    def checked_sample_weight(self, weight: Array, shape: Shape, dtype: DType) -> Array:
        """Return weights as they are computed with, or say what is wrong with them.

        Parameters
        ----------
        weight : (N,) array
            At least 0 each; on a GPU the values are not looked at.
        shape : tuple of int
            Of the predictions.
        dtype : dtype
            Of the predictions, and so of the weights.

        Returns
        -------
        (N,) array
            In memory as the backend wants it.
        """
        backend = get_backend()
        weight = validate.floating(backend, weight, "sample_weight", "(N,)")
        validate.has_dtype(weight, "sample_weight", dtype, f"the dtype of {self.scores}")
        validate.has_shape(weight, "sample_weight", shape[:1], f"one for each row of {self.scores}")
        if backend.on_host and weight.size:
            validate.within(weight, "sample_weight", 0, math.inf)
            if self.reduction == "mean" and not weight.any():
                raise ArgumentError(
                    "sample_weight: got nothing but 0 (class_weight of fit, if there is one, multiplied in); allowed:"
                    " one above 0 in each batch, or reduction='sum'"
                )
        return weight

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without what was made for a backend."""
        return {**vars(self), "_on_backends": {}}

    def __repr__(self) -> str:
        plain = (None, "mean")
        shown = ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value!r}"
            for name, value in self.settings().items()
            if value not in plain
        )
        return f"{type(self).__name__}({shown})"


def is_listed(loss: Any) -> TypeGuard[ListedLoss]:
    """Tell whether a loss is one of fastconv's list, which knows the mean over a batch from its parts."""
    return isinstance(loss, ListedLoss) and type(loss).__call__ is ListedLoss.__call__


@dataclass(frozen=True)
class Whole:
    """A batch of which a loss is computed piece by piece: the shares add up to that of all."""

    loss: ListedLoss
    targets: Array
    sample_weight: Array | None
    divisor: Array | None

    def part(self, predictions: Array, begin: int, end: int) -> tuple[Array, Array]:
        """Return the share of the rows from `begin` to `end`, and its gradient."""
        weight = None if self.sample_weight is None else self.sample_weight[begin:end]
        return self.loss.computed(predictions, self.targets[begin:end], weight, self.divisor)


def _checked_weights(values: LossWeights, name: str) -> tuple[float, ...] | float | None:
    """Return weights as a tuple, or one for all channels; none below 0, and not all 0."""
    if values is None:
        return None
    array = on_host(values, name=name)
    if array.ndim > 1 or not array.size or array.dtype.kind not in "fiu":
        raise ArgumentError(f"{name}: got {values!r:.100}; allowed: a list of numbers, one for each class, or None")
    array = array.astype(np.float64)
    validate.within(array, name, 0, math.inf)
    if not array.any():
        raise ArgumentError(f"{name}: got nothing but 0; allowed: at least one above 0")
    return tuple(array.tolist()) if array.ndim else float(array)
