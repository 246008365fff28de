"""A training step that was captured once and is replayed: one call into compiled code, or one CUDA graph.

What changes from step to step lies in arrays: the batch, the learning rate, the number of the step. Everything else
(shapes, hyperparameters, the arrays of the model) is what `CapturedStep.fits` compares; where it has changed, the step
is captured anew.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import random
from fastconv._attributes import is_ours
from fastconv.algorithm import get_algorithm
from fastconv.backends.base import Array, Backend, Shape
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.nn.core.parameter import Buffer
from fastconv.nn.core.undo import arenas_of
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.precision import get_precision

_PLAIN = (bool, int, float, str, tuple, type(None))


def foreign_part(model: Layer, loss: object, optimizer: Optimizer) -> object | None:
    """Return what of a step is not fastconv's own, and so may compute something that no backend sees; None if all is.

    A layer of somebody's own may do arithmetic in NumPy; replayed, that would stay what it was at the first step.
    """
    if type(loss) is not SoftmaxCrossEntropy:
        return loss
    parts: list[object] = [*model.walk(), optimizer]
    return next((part for part in parts if not is_ours(type(part))), None)


def around_of(model: Layer, loss: SoftmaxCrossEntropy, optimizer: Optimizer, seed: int) -> list[Any]:
    """Return what a captured step takes for constant but for the layers: numbers, and arrays of the optimizer."""
    values = [get_precision(), get_algorithm(), model.backend.num_threads, seed, loss.label_smoothing]
    values += optimizer.settings().values()
    return values + [_Same(array) for array in optimizer.arrays()]


def settings_of(model: Layer) -> list[Any]:
    """Return what a captured step takes for constant of the layers: numbers, and the arrays that they compute with."""
    values: list[Any] = []
    for layer in model.walk():
        values.append(type(layer))
        for value in vars(layer).values():
            if isinstance(value, _PLAIN):
                values.append(value)
            elif isinstance(value, Buffer):
                values.append(_Same(value.array))
    return values


def attributes_of(model: Layer) -> tuple[list[tuple[dict[str, Any], tuple[Any, ...]]], list[tuple[Buffer, Array]]]:
    """Return each layer's attributes, beside what they are now, and each tensor beside its array.

    As long as all of these are the very same objects, the layers are as they were: the quick half of `fits`, which
    would otherwise be a third of a small step.
    """
    layers = [vars(layer) for layer in model.walk()]
    return [(kept, tuple(kept.values())) for kept in layers], [(tensor, tensor.array) for tensor in model.tensors()]


class _Same:
    """An array, equal to nothing but itself. It is held, so that no other one can get its place."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._array is other._array

    __hash__ = None  # type: ignore[assignment]


class CapturedStep:
    """Forward, loss, backward and update on batches of one shape.

    Parameters
    ----------
    model, loss, optimizer : of fastconv's own classes
    seed : int
        Of dropout.
    x : array
        A batch of the shape that is captured; nothing is computed with it.

    Attributes
    ----------
    shape : tuple of int
        Of the batch.
    statistics : list of array
        What the forward of a step writes: the flat arrays of the model's buffers.
    works : bool
        Whether the backend could capture the step.
    """

    def __init__(self, model: Layer, loss: SoftmaxCrossEntropy, optimizer: Optimizer, seed: int, x: Array) -> None:
        self._model, self._loss, self._optimizer, self._seed = model, loss, optimizer, seed
        self._backend: Backend = model.backend
        self._parameters = tuple(model.parameters())
        self.shape: Shape = tuple(x.shape)
        self._x = self._backend.empty(x.shape, x.dtype)
        self._backend.copy(x, out=self._x)
        self._y = self._backend.asarray(np.zeros(x.shape[:1], np.int32))
        self._step = self._backend.asarray(np.zeros(1, np.int64))
        self.statistics = arenas_of(model.buffers())
        self._around = around_of(model, loss, optimizer, seed)
        self._attributes, self._settings = attributes_of(model), settings_of(model)
        self._loss_value: Array = None
        self._predictions: Array = None
        self._replay = self._capture()
        self.works = self._replay is not None

    def fits(self, model: Layer, loss: object, optimizer: Optimizer, seed: int) -> bool:
        """Tell whether everything but the batch is as it was when the step was captured."""
        if model is not self._model or loss is not self._loss or optimizer is not self._optimizer:
            return False
        around = around_of(model, self._loss, optimizer, seed)
        if around != self._around:
            return False
        layers, tensors = self._attributes
        if all(len(now) == len(then) and all(map(operator.is_, now.values(), then)) for now, then in layers) and all(
            tensor.array is array for tensor, array in tensors
        ):
            return True
        self._attributes = attributes_of(model)  # before they are compared in full
        return settings_of(model) == self._settings

    def run(self, x: Array, y: Array, step: int) -> tuple[Array, Array] | None:
        """Do a step on a batch that was checked; return the loss, and the predictions, which the next step overwrites.

        None if it came to a value that is not finite, for which the kernels captured are not the right ones: then
        nothing has changed but `statistics`, as also where it is interrupted.
        """
        if self._replay is None:
            return None
        backend, optimizer = self._backend, self._optimizer
        backend.copy(x, out=self._x)
        backend.copy(self._loss.checked_targets(y, self._predictions.shape), out=self._y)
        self._step[0] = step % 2**32
        updates = optimizer.steps
        try:
            if not optimizer.apply(self._replay):
                return None
            self._note_gradients(written=True)
        except BaseException:
            self._note_gradients(written=optimizer.steps != updates)
            raise
        loss = backend.empty((), self._loss_value.dtype)
        backend.copy(self._loss_value, out=loss)
        return loss, self._predictions

    def _capture(self) -> Callable[[], bool] | None:
        try:
            self._forget()  # so that weights are prepared, and gradients written, within
            try:
                return self._backend.capture(self._compute)
            finally:
                self._written = tuple(parameter for parameter in self._parameters if parameter.has_grad)
                self._forget()  # nothing was prepared or written yet
        except BaseException:
            self._forget()  # also if the interrupt came just now
            raise

    def _note_gradients(self, *, written: bool) -> None:
        for parameter in self._written:
            if written:
                parameter.wrote_grad()
            else:
                parameter.zero_grad()

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.touch()
            parameter.zero_grad()

    def _compute(self) -> None:
        with random.stream(self._seed, self._step):
            self._predictions, context = self._model.forward(self._x, training=True)
        self._loss_value, grad = self._loss(self._predictions, self._y)
        self._model.backward(grad, context, needs_input_grad=False)
        self._optimizer.update()
