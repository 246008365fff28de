"""A training step that was captured once and is replayed: one call into compiled code, or one CUDA graph.

What changes from step to step lies in arrays: the batch, the learning rate, the number of the step. Everything else
(shapes, hyperparameters, the arrays of the model) is what `CapturedStep.fits` compares; where it has changed, the step
is captured anew.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastconv._attributes import is_ours, is_strange, settings_of
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.losses import DeclaredLoss
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.undo import Snapshot, arenas_of
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.precision import get_precision
from fastconv.training.clipping import Clip
from fastconv.training.side_effects import SideEffects
from fastconv.training.step import Batch, Done, StepSettings, train_step

_Part = AbstractLayer | DeclaredLoss | Optimizer


def foreign_part(model: Layer, loss: object, optimizer: Optimizer) -> object | None:
    """Return what of a step does not declare its settings, so that a replay may compute something else; None if all do.

    A layer of somebody's own may do arithmetic in NumPy; replayed, that would stay what it was when it was recorded.
    """
    if not isinstance(loss, DeclaredLoss):
        return loss
    return next((part for part in parts_of(model, loss, optimizer) if settings_of(part) is None), None)


def check_capture(model: Layer, loss: object, optimizer: Optimizer) -> None:
    """Say why steps cannot be captured, if they cannot."""
    if not model.backend.captures:
        raise ArgumentError(
            f"capture: got True on the backend {model.backend.name!r}, which cannot; allowed: None or False"
        )
    part = foreign_part(model, loss, optimizer)
    if part is not None:
        raise ArgumentError(
            f"capture: got True with {part!r}; allowed: None or False, or layers, loss and optimizer that declare"
            " their settings, as fastconv's own classes do"
        )


def parts_of(model: Layer, loss: DeclaredLoss, optimizer: Optimizer) -> list[_Part]:
    """Return all of a step that has settings."""
    return [*model.walk(), loss, optimizer]


def strange_parts(model: Layer, loss: object, optimizer: Optimizer, clip: Clip | None = None) -> list[object]:
    """Return those of a step that compute what was defined outside of fastconv."""
    parts = (*model.walk(), loss, *optimizer.all_within(), *(() if clip is None else (clip,)))
    return [part for part in parts if is_strange(part)]


def form_of(batch: Batch) -> tuple[Any, ...]:
    """Return what of a batch decides on the kernels of a step."""
    return tuple(batch.x.shape), tuple(batch.y.shape), batch.y.dtype, batch.weight is not None


def _other_values(values: np.ndarray) -> np.ndarray:
    """Return others: from 0 to 1, or at least 0, where these are, and so little off that what is finite stays so."""
    if values.dtype.kind == "f":
        return np.asarray(values * 0.75 + 2.0**-10, values.dtype)
    return np.asarray(values + 1, values.dtype) if values.dtype.kind in "iu" else values


def _other_labels(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return other targets of the same kind."""
    if labels.dtype.kind == "f":
        return _other_values(labels)
    others = np.roll(labels, 1, axis=0), np.zeros_like(labels), np.full_like(labels, classes > 1)
    return next((other for other in others if not np.array_equal(other, labels)), labels)


class CapturedStep:
    """Forward, loss, backward, clipping and update, which all declare their settings, on batches like `batch`.

    Parameters
    ----------
    checks : loss or None
        Looks at the targets; None for `loss` itself.

    Attributes
    ----------
    form : tuple
        Shape of the inputs, shape and type of the targets, and whether rows have weights.
    statistics : list of array
        What the forward of a step writes: the flat arrays of the model's buffers.
    works : bool
        Whether the backend could capture the step.
    """

    def __init__(
        self,
        model: Layer,
        loss: DeclaredLoss,
        optimizer: Optimizer,
        how: StepSettings,
        batch: Batch,
        *,
        checks: DeclaredLoss | None = None,
    ) -> None:
        x, y, weight = batch
        self._checks = loss if checks is None else checks
        self._model, self._loss, self._optimizer, self._how = model, loss, optimizer, how
        self._backend: Backend = model.backend
        self._strange = strange_parts(model, loss, optimizer, how.clip)
        self._parameters = tuple(model.parameters())
        self.form = form_of(batch)
        self._x = self._backend.copy_of(x)
        targets = self._checks.checked_targets(y, (x.shape[0], *model.infer(x.shape[1:])), model.dtype)
        self._y = self._backend.copy_of(targets)  # which the loss looks at when it is captured
        self._weight = None if weight is None else self._backend.copy_of(weight)
        self._step = self._backend.asarray(np.zeros(1, np.int64))
        self.statistics = arenas_of(model.buffers())
        # What has no settings, and cannot get any, need not be asked before each step.
        asked = (part for part in parts_of(model, loss, optimizer) if settings_of(part) or not is_ours(type(part)))
        self._parts: list[_Part] = list(asked)
        self._tensors, self._surroundings, self._settings = tuple(model.tensors()), self._around(how), self._declared()
        self._arrays = self._all_arrays()
        self._done = Done(None, None)
        self._replay = self._tried() if self._strange else self._capture()
        self.works = self._replay is not None

    def _tried(self) -> Callable[[], bool] | None:
        """Capture what somebody's own code is part of, if a replay repeats it; all else is as it was before.

        What such code computes in NumPy is done while the step is recorded, and no replay does it anew. For one batch
        and the values of one step that may be right, so others are tried as well.
        """
        before, own = Snapshot(self._backend, self._all_read()), SideEffects(self._strange)
        try:
            try:
                with np.errstate(all="ignore"):  # of values that the step would not have
                    return self._found_to_repeat(before, own)
            except Exception:  # of code that takes other values only: as it is written it says what is wrong, if it is
                return None
            finally:
                before.put_back()
                own.put_back()
        finally:  # again: an interrupt may have come before the first time, or within it
            before.put_back()
            own.put_back()
            self._forget()

    def _found_to_repeat(self, before: Snapshot, own: SideEffects) -> Callable[[], bool] | None:
        replay = self._capture()
        before.put_back()
        own.put_back()  # a mean, say, of memory without values, that might stay NaN
        if replay is None or not self._repeats(replay, before):
            return None
        seen = own.seen()
        self._change(before)
        changed = Snapshot(self._backend, [array for array, _ in before.kept])
        return replay if self._repeats(replay, changed) and own.seen() == seen else None

    def _all_read(self) -> list[Array]:
        """Return all arrays whose values a step reads or writes, but for those that it makes."""
        gradients = {id(p.arena): p.arena.grad for p in self._parameters}
        batch = [self._x, self._y, *([] if self._weight is None else [self._weight]), self._step]
        optimizer = [*self._optimizer.changed(), *self._optimizer.arrays()]
        arrays = [*batch, *arenas_of(self._tensors), *optimizer, *gradients.values()]
        return list({id(array): array for array in arrays}.values())

    def _change(self, before: Snapshot) -> None:
        """Give all that a step reads other values, in the range of those that it has."""
        backend, classes = self._backend, self._done.predictions.shape[-1]
        for array, kept in before.kept:
            values = backend.to_numpy(kept)
            other = _other_labels(values, classes) if array is self._y else _other_values(values)
            backend.copy(backend.asarray(other, array.dtype), out=array)

    def _repeats(self, replay: Callable[[], bool], before: Snapshot) -> bool:
        """Tell whether a replay gives, to the bit, what the step gives as it is written."""
        recorded = self._done
        try:
            self._forget()
            self._compute()
            as_written = self._results(before, self._done)
            before.put_back()
            self._forget()
            return replay() and self._results(before, recorded) == as_written
        finally:
            self._done = recorded

    def _results(self, changed: Snapshot, done: Done) -> list[bytes]:
        arrays = [array for array, _ in changed.kept]
        return [self._backend.to_numpy(array).tobytes() for array in (*arrays, done.loss, done.predictions)]

    def fits(self, model: Layer, loss: object, optimizer: Optimizer, how: StepSettings) -> bool:
        """Tell whether everything but the batch is as it was when the step was captured."""
        if model is not self._model or loss is not self._loss or optimizer is not self._optimizer:
            return False
        if self._around(how) != self._surroundings or self._declared() != self._settings:
            return False
        arrays = self._all_arrays()
        return len(arrays) == len(self._arrays) and all(map(operator.is_, arrays, self._arrays))

    def _around(self, how: StepSettings) -> tuple[Any, ...]:
        frozen = tuple(parameter.is_frozen for parameter in self._parameters)
        code = self._backend.code_state() if self._strange else 0
        return get_precision(), get_algorithm(), self._backend.num_threads, how, frozen, code

    def _declared(self) -> list[Mapping[str, Any] | None]:
        return [part.settings() for part in self._parts]

    def _all_arrays(self) -> list[Array]:
        """Return what the step computes with, and keep it, so that no other array can get its place."""
        return [tensor.array for tensor in self._tensors] + self._optimizer.arrays()

    def run(self, batch: Batch, step: int) -> Done | None:
        """Do a step on a batch that was checked; all but the loss that is returned the next step overwrites.

        None if it came to a value that is not finite, for which the kernels captured are not the right ones: then
        nothing has changed but `statistics`, as also where it is interrupted.
        """
        if self._replay is None:
            return None
        backend, optimizer, predictions = self._backend, self._optimizer, self._done.predictions
        backend.copy(batch.x, out=self._x)
        backend.copy(self._checks.checked_targets(batch.y, predictions.shape, predictions.dtype), out=self._y)
        if batch.weight is not None:
            backend.copy(batch.weight, out=self._weight)
        self._step[0] = step % 2**32
        updates = optimizer.steps
        try:
            if not optimizer.apply(self._replay):
                return None
            self._note_gradients(written=True)
        except BaseException:
            self._note_gradients(written=optimizer.steps != updates)
            raise
        return self._done._replace(loss=backend.copy_of(self._done.loss))

    def _capture(self) -> Callable[[], bool] | None:
        try:
            self._forget()  # so that weights are prepared, and gradients written, within
            try:
                return self._record()
            finally:
                self._written = tuple(parameter for parameter in self._parameters if parameter.has_grad)
                self._forget()  # nothing was prepared or written yet
        except BaseException:
            self._forget()  # also if the interrupt came just now
            raise

    def _record(self) -> Callable[[], bool] | None:
        return self._backend.capture(self._compute)

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
        self._done = train_step(
            *(self._model, self._loss, self._optimizer, Batch(self._x, self._y, self._weight)),
            settings=self._how,
            update=self._optimizer.update,
            parameters=self._parameters,
            number=self._step,
        )
