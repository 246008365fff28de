"""The training loop.

A step is: forward, loss, backward, optimizer. Sums for the history stay on the device until the epoch ends, so that
no step waits for it; all arrays come from the backend's pool, so that in steady state a step maps no new memory. Where
the backend can capture, a step is captured when its shape first comes, and replayed from then on (captured.py). The
random numbers of a step depend on the seed and the number of the step only, so that a run can be taken up again after
any epoch and gives the same bits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv.backends.base import Array, Backend, Shape
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.losses import Loss
from fastconv.nn.layer import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import Schedule
from fastconv.training.batches import Batches, as_batches
from fastconv.training.callbacks import Callback, StepInfo
from fastconv.training.captured import CapturedStep, foreign_part
from fastconv.training.history import History


class Trainer:
    """Trains a built model.

    Parameters
    ----------
    model : Layer
    loss : Loss
        ``loss(predictions, targets) -> (loss, grad)``.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    schedule : callable or None
        Gives the learning rate of each step, counted from 0; the optimizer's own stays if None.
    callbacks : iterable of Callback
    seed : int or None
        Of dropout; that of `fastconv.seed` by default.
    capture : bool or None
        Whether steps are captured and replayed, which saves the time between kernels and gives the same bits. None does
        so where the backend can and model, loss and optimizer are made of fastconv's own classes (what others compute
        outside of the backend would not be repeated); True demands it.

    Attributes
    ----------
    step, epoch : int
        How many were done.
    history : History
        Of all epochs done.
    stop : bool
        A callback sets it to end `fit` after the epoch.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule | None = None,
        callbacks: Iterable[Callback] = (),
        *,
        seed: int | None = None,
        capture: bool | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer, self.schedule = model, loss, optimizer, schedule
        self.callbacks = tuple(callbacks)
        self.seed = random.get_seed() if seed is None else random.checked_seed(seed)
        self.step = self.epoch = 0
        self.steps_per_epoch = self.last_epoch = 0
        self.history = History()
        self.stop = False
        if capture:
            self._check_capture()
        self._capture = model.backend.captures if capture is None else capture
        self._captured: CapturedStep | None = None
        self._last_shape: Shape = ()

    def fit(self, train: Any, epochs: int, validation_data: Any = None, *, batch_size: int = 128) -> History:
        """Train for `epochs` more epochs.

        Parameters
        ----------
        train : DataLoader, iterable of (x, y) with a length, or pair of arrays
            A pair is taken in order, `batch_size` rows at a time; a `DataLoader` shuffles.
        epochs : int
        validation_data : like `train`, or None
            Evaluated after each epoch.
        batch_size : int
            Of pairs of arrays.

        Returns
        -------
        The history of all epochs so far.
        """
        batches = as_batches(train, "train", batch_size)
        if validation_data is not None:
            validation_data = as_batches(validation_data, "validation_data", batch_size)
        self.steps_per_epoch = len(batches)
        self.last_epoch = self.epoch + validate.at_least_one(epochs, "epochs")
        self.stop = False
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
            while self.epoch < self.last_epoch and not self.stop:
                logs = self._train_epoch(batches)
                if validation_data is not None:
                    logs.update({f"val_{name}": value for name, value in self.evaluate(validation_data).items()})
                self.history.append(logs)
                self.epoch += 1
                for callback in self.callbacks:
                    callback.on_epoch_end(self, logs)
        finally:
            for callback in reversed(self.callbacks):
                callback.on_train_end(self)
        return self.history

    def train_step(self, x: Array, y: Array) -> Array:
        """Do one step and return its loss, a () array of the backend: ``float(loss)`` waits for the device."""
        return self._step(x, y)[0]

    def evaluate(self, data: Any, *, batch_size: int = 256) -> dict[str, float]:
        """Return the mean loss and, for integer targets, the accuracy over `data`, which is like `train` of `fit`."""
        totals = _Totals(self.model.backend)
        for x, y in as_batches(data, "data", batch_size):
            predictions = self.model(x)
            totals.add(self.loss(predictions, y)[0], predictions, y)
        return totals.means()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `restore` needs to one file, all or nothing: weights, optimizer, counters, history."""
        from fastconv.nn.weights import host_tensors, write_tensors

        state = self.optimizer.state_dict()
        tensors = {f"model/{name}": array for name, array in host_tensors(self.model).items()}
        tensors |= {f"optimizer/{name}": array for name, array in state.pop("tensors").items()}
        counters = {"step": self.step, "epoch": self.epoch, "seed": self.seed, "history": self.history.history}
        write_tensors(path, tensors, {"kind": "training state", "optimizer": state, **counters})

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from what `save` wrote: training gives the same bits as if it had not been interrupted.

        The model and the optimizer must be made as they were; the file holds values only.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or of another model or optimizer; nothing is changed.
        """
        from fastconv.nn.weights import check_fit, read_tensors, set_tensors

        tensors, metadata = read_tensors(path, kind="training state")
        weights = _below("model/", tensors)
        state = {**metadata["optimizer"], "tensors": _below("optimizer/", tensors)}
        check_fit(path, weights, self.model.named_tensors())
        try:
            self.optimizer.check_state(state)
        except CheckpointError as error:
            raise CheckpointError(
                f"path: got {os.fspath(path)!r}, which does not fit the optimizer; {error}"
            ) from error
        set_tensors(self.model, weights)
        self.optimizer.load_state_dict(state)
        self.step, self.epoch, self.seed = metadata["step"], metadata["epoch"], metadata["seed"]
        self.history = History({name: list(values) for name, values in metadata["history"].items()})

    def _step(self, x: Array, y: Array) -> tuple[Array, Array]:
        if self.schedule is not None:
            self.optimizer.lr = self.schedule(self.step)
        captured = self._captured_step(x) if self._capture else None
        done = captured.run(x, y, self.step) if captured else None
        if done is None:
            done = self._plain_step(x, y)
        self.step += 1
        return done

    def _plain_step(self, x: Array, y: Array) -> tuple[Array, Array]:
        with random.stream(self.seed, self.step):
            predictions, context = self.model.forward(x, training=True)
        loss, grad = self.loss(predictions, y)
        self.model.zero_grad()
        self.model.backward(grad, context, needs_input_grad=False)
        self.optimizer.step()
        return loss, predictions

    def _captured_step(self, x: Array) -> CapturedStep | None:
        """Return the step for batches like `x`, captured now if need be, or None if this one is not captured.

        One shape at a time has the memory of a captured step. Another shape gets it when it comes twice in a row, so
        not the short batch at the end of an epoch.
        """
        x = self.model.check_input(x)
        shape, last, kept = tuple(x.shape), self._last_shape, self._captured
        self._last_shape = shape
        if kept is not None and kept.shape != shape and last != shape:
            return None
        if kept is None or kept.shape != shape or not kept.fits(self.model, self.loss, self.optimizer, self.seed):
            self._captured = kept = None  # its memory is free for the next one
            if foreign_part(self.model, self.loss, self.optimizer) is None:
                loss: Any = self.loss
                self._captured = CapturedStep(self.model, loss, self.optimizer, self.seed, x)
        return self._captured

    def _check_capture(self) -> None:
        if not self.model.backend.captures:
            raise ArgumentError(
                f"capture: got True on the backend {self.model.backend.name!r}, which cannot; allowed: None or False"
            )
        part = foreign_part(self.model, self.loss, self.optimizer)
        if part is not None:
            raise ArgumentError(
                f"capture: got True with {part!r}; allowed: None or False, or layers, loss and optimizer of fastconv's"
                " own classes and an optimizer of this model's parameters"
            )

    def _train_epoch(self, batches: Batches) -> dict[str, float]:
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(self.epoch)
        totals = _Totals(self.model.backend)
        begin = time.perf_counter()
        for number, (x, y) in enumerate(batches, start=1):
            loss, predictions = self._step(x, y)
            totals.add(loss, predictions, y)
            info = StepInfo(number, self.steps_per_epoch, x.shape[0], loss)
            for callback in self.callbacks:
                callback.on_step_end(self, info)
        logs = totals.means()  # waits for the device
        seconds = time.perf_counter() - begin
        return {
            **logs,
            "learning_rate": self.optimizer.lr,
            "seconds": seconds,
            "images_per_second": totals.images / seconds,
        }


class _Totals:
    """Sums over the batches of an epoch, kept on the device until they are asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._loss: Array = None
        self._correct: Array = None
        self.images = 0

    def add(self, loss: Array, predictions: Array, targets: Array) -> None:
        """Count in one batch; its loss is a mean over the images."""
        backend, images = self._backend, predictions.shape[0]
        weighted = backend.empty((1,), loss.dtype)
        backend.scale(loss.reshape(1), factor=float(images), out=weighted)
        if self._loss is None:
            self._loss = weighted
        else:
            backend.add(self._loss, weighted, out=self._loss)
        if targets.ndim == 1 and targets.dtype.kind in "iu":
            if self._correct is None:
                self._correct = backend.asarray(np.zeros(1, np.int64))
            backend.count_correct(predictions, backend.asarray(targets, np.int32), out=self._correct)
        self.images += images

    def means(self) -> dict[str, float]:
        """Return the mean loss and accuracy; of no images the loss is 0, and there is no accuracy."""
        if not self.images:
            return {"loss": 0.0}
        result = {"loss": float(self._backend.to_numpy(self._loss)[0]) / self.images}
        if self._correct is not None:
            result["accuracy"] = int(self._backend.to_numpy(self._correct)[0]) / self.images
        return result


def _below(prefix: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
