"""The training loop.

A step is: forward, loss, backward, optimizer. Sums for the history stay on the device until the epoch ends, so that
no step waits for it; all arrays come from the backend's pool, so that in steady state a step maps no new memory. Where
the backend can capture, a step is captured when its shape first comes, and replayed from then on (captured.py). The
random numbers of a step depend on the seed and the number of the step only, so that a run can be taken up again after
any epoch and gives the same bits.

What a step changes (parameters, running statistics, the optimizer's state, counters) it changes whole or not at all,
whatever interrupts it: until the update is done everything is put back, from then on everything is counted. The update
itself is one call into compiled code, or is undone (`Optimizer.apply`).
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from fastconv import _validate as validate
from fastconv import random
from fastconv._attributes import Declared
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, DivergenceError, ShapeError
from fastconv.losses import DeclaredLoss, Loss, loss_and_grad
from fastconv.metrics import Metric
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.undo import Snapshot, arenas_of
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import Schedule, misfit
from fastconv.training import parts
from fastconv.training.batches import Batches, as_batches, checked_batch, is_pair, no_batches, pairs
from fastconv.training.callbacks import Callback, StepInfo
from fastconv.training.captured import CapturedStep, check_capture, foreign_part, form_of
from fastconv.training.checkpoint import read_state, write_state
from fastconv.training.history import History
from fastconv.training.position import Position
from fastconv.training.step import train_step
from fastconv.training.totals import Totals, names_of, numbers

_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "model": parts.checked_model,
    "loss": parts.checked_loss,
    "schedule": parts.checked_schedule,
    "callbacks": parts.checked_callbacks,
    "metrics": parts.checked_metrics,
    "seed": random.checked_seed,
}


class Trainer(Declared):
    """Trains a built model.

    Parameters
    ----------
    model : Layer
    loss : Loss
        ``loss(predictions, targets) -> (loss, grad)``: a number, the mean over the batch, and its gradient.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    schedule : callable or None
        Gives the learning rate of each step (not epoch), counted from 0; the optimizer's own stays if None.
    callbacks : Callback or iterable of Callback
    metrics : Metric, iterable of Metric, or None
        Measured besides the loss, such as ``fastconv.metrics.F1()``; None: the accuracy where there are class numbers.
    seed : int or None
        Of dropout; that of `fastconv.seed` by default.
    capture : bool or None
        Whether steps are captured and replayed, which saves the time between kernels and gives the same bits. None does
        so where the backend can and all layers, the loss and the optimizer declare their settings, as fastconv's own do
        (what others compute outside of the backend would not be repeated); True demands it.

    Attributes
    ----------
    step, epoch : int
        How many were done.
    steps_per_epoch, last_epoch : int
        Of the present or the last `fit`.
    validates : bool
        Whether that has validation data.
    history : History
        Of all epochs done.
    stop : bool
        A callback sets it to end `fit` after the epoch; `restore` says whether one had.
    position : mapping or None
        How far the epoch is that was left in its middle, or that is running; None between two.
    """

    habits: ClassVar[Mapping[str, str]] = {
        "stop_training": "trainer.stop",
        "should_stop": "trainer.stop",
        "lr": "trainer.optimizer.lr",
        "learning_rate": "trainer.optimizer.lr",
    }
    misleading: ClassVar[frozenset[str]] = frozenset(("stop_training", "should_stop", "lr", "learning_rate"))

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        *,
        metrics: Metric | Iterable[Metric] | None = None,
        seed: int | None = None,
        capture: bool | None = None,
    ) -> None:
        self.model, self.loss, self.schedule = model, loss, schedule
        self.optimizer = optimizer
        self.callbacks: tuple[Callback, ...] = callbacks  # type: ignore[assignment]  # made one by its check
        self.metrics: tuple[Metric, ...] | None = metrics  # type: ignore[assignment]  # so is this
        self.seed = random.get_seed() if seed is None else seed
        self.step = self.epoch = 0
        self.steps_per_epoch = self.last_epoch = 0
        self.validates = False
        self.history = History()
        self.stop = False
        self._left_off: Mapping[str, Any] | None = None
        self._running: Position | None = None
        if capture:
            check_capture(self.model, self.loss, self.optimizer)
        self._capture = model.backend.captures if capture is None else capture
        self._captured: CapturedStep | None = None
        self._last_form: tuple[Any, ...] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKS:
            value = _CHECKS[name](value)
        elif name == "optimizer":
            value = parts.checked_optimizer(value, self.model)
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Trainer(epoch {self.epoch}, step {self.step}, {self.loss!r}, {self.optimizer!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the captured step, which is captured again."""
        return {**vars(self), "_captured": None, "_running": None}

    def fit(
        self,
        train: Any,
        epochs: int,
        validation_data: Any = None,
        *,
        batch_size: int | None = None,
        shuffle: bool | None = None,
    ) -> History:
        """Train for `epochs` more epochs.

        Parameters
        ----------
        train : DataLoader, iterable of (x, y) with a length, or pair of arrays
        epochs : int
        validation_data : like `train`, or None
            Evaluated after each epoch.
        batch_size : int or None
            Of pairs of arrays; 128 by default.
        shuffle : bool or None
            Whether a pair of arrays is taken in a new random order in each epoch, which is the default; False keeps
            theirs. The order depends on the trainer's seed and the number of the epoch, so a run that was restored
            repeats it. A `DataLoader` has a setting of its own.

        Returns
        -------
        The history of all epochs so far.

        Raises
        ------
        DivergenceError
            The loss is no longer finite. The epoch is not recorded.
        DataError
            There are no batches.
        """
        size, whole = self._checked_sizes(train, validation_data, batch_size, shuffle)
        batches = as_batches(train, "train", self.model, size, shuffle=whole, seed=self.seed)
        if validation_data is not None:
            validation_data = as_batches(validation_data, "validation_data", self.model, size)
        self.last_epoch = self.epoch + validate.at_least_one(epochs, "epochs")
        self.steps_per_epoch, self.validates = len(batches), validation_data is not None
        self._compare_schedule(epochs)
        self.stop = self.stop and self._left_off is not None
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
            while self.epoch < self.last_epoch and (self._left_off is not None or not self.stop):
                logs = self._train_epoch(batches)
                if validation_data is not None:
                    means = numbers(self._means(validation_data, "validation_data"))
                    logs.update({f"val_{name}": value for name, value in means.items()})
                self._record(logs)
                self._running = None
                for callback in self.callbacks:
                    callback.on_epoch_end(self, logs)
        finally:
            for callback in reversed(self.callbacks):
                callback.on_train_end(self)
            self._running = None
        return self.history

    @property
    def position(self) -> Mapping[str, Any] | None:
        """How far the present epoch is, as `save` writes it; None between two epochs."""
        return self._left_off if self._running is None else self._running.state_dict()

    @position.setter
    def position(self, state: Mapping[str, Any] | None) -> None:
        self._left_off = state

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that an epoch of the present `fit` may have in the history."""
        means = names_of(self.metrics, self.model.infer(self.model.input_shape)[-1])
        validated = tuple(f"val_{name}" for name in means) if self.validates else ()
        return (*means, *validated, "learning_rate", "seconds", "images_per_second")

    def train_step(self, x: Array, y: Array) -> Array:
        """Do one step and return its loss, a () array of the backend: ``float(loss)`` waits for the device."""
        return self._step(*checked_batch(self.model, x, y))[0]

    def evaluate(self, data: Any, *, batch_size: int | None = None) -> dict[str, Any]:
        """Return the mean loss and the metrics over `data`, which is like `train` of `fit`: numbers, or NumPy arrays.

        `batch_size`, 256 by default, is that of a pair of arrays. DataError if there is nothing in `data`.
        """
        if batch_size is not None and not is_pair(data):
            raise ArgumentError(f"batch_size: got {batch_size!r} with batches; allowed: with a pair of arrays")
        return self._means(as_batches(data, "data", self.model, 256 if batch_size is None else batch_size), "data")

    def _means(self, batches: Batches, name: str) -> dict[str, Any]:
        totals = Totals(self.model.backend, self.loss, self.metrics)
        for raw in pairs(batches, name):
            x, y = checked_batch(self.model, *raw)
            predictions = self.model(x)
            totals.add(loss_and_grad(self.loss, predictions, y)[0], predictions, y)
        if not totals.images:
            raise no_batches(batches, name)
        return totals.means()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `restore` needs to one file, all or nothing: see checkpoint.py."""
        write_state(self, path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from what `save` wrote: training gives the same bits as if it had not been interrupted.

        Model, optimizer, schedule and callbacks must be made as they were; the file holds values only. One that was
        written in the middle of an epoch, by a callback, makes `fit` begin behind the batches that were done then,
        which must be the same ones again.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or of another model or optimizer; nothing is changed.
        """
        read_state(self, path)

    def _step(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Do a step on a batch that was checked; return its loss and the predictions."""
        if not x.shape[0]:
            raise ShapeError(f"x: got shape {tuple(x.shape)}, a batch of nothing; allowed: at least one row")
        optimizer, number = self.optimizer, self.step
        updates, rate = optimizer.steps, optimizer.lr
        statistics: Snapshot | None = None
        try:
            if self.schedule is not None:
                optimizer.lr = self.schedule(number)
            captured = self._captured_step(x, y) if self._capture else None
            tensors = () if captured else tuple(self.model.tensors())
            buffers = [tensor for tensor in tensors if not isinstance(tensor, Parameter)]
            statistics = Snapshot(self.model.backend, captured.statistics if captured else arenas_of(buffers))
            done = captured.run(x, y, number) if captured else None
            if done is None:
                if captured:
                    statistics.put_back()
                done = self._plain_step(x, y, tensors or self.model.tensors())
            self.step = number + 1
        except BaseException:
            if optimizer.steps != updates:
                self.step = number + 1
            else:
                optimizer.lr = rate
                if statistics is not None:
                    statistics.put_back()
            raise
        return done

    def _plain_step(self, x: Array, y: Array, tensors: Iterable[Buffer]) -> tuple[Array, Array]:
        return train_step(
            *(self.model, self.loss, self.optimizer, (x, y)),
            update=self.optimizer.step,
            parameters=[tensor for tensor in tensors if isinstance(tensor, Parameter)],
            stream=(self.seed, self.step),
        )

    def _captured_step(self, x: Array, y: Array) -> CapturedStep | None:
        """Return the step for batches like this, captured now if need be, or None if this one is not captured.

        One form at a time has the memory of a captured step; another gets it when it comes twice in a row.
        """
        form, last, kept = form_of(x, y), self._last_form, self._captured
        self._last_form = form
        if kept is not None and kept.form != form and last != form:
            return None
        if kept is None or kept.form != form or not kept.fits(self.model, self.loss, self.optimizer, self.seed):
            self._captured = kept = None  # its memory is free for the next one
            loss = self.loss
            if foreign_part(self.model, loss, self.optimizer) is None and isinstance(loss, DeclaredLoss):
                self._captured = CapturedStep(self.model, loss, self.optimizer, self.seed, (x, y))
        return self._captured

    def _train_epoch(self, batches: Batches) -> dict[str, float]:
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(self.epoch)
        epoch = Position(Totals(self.model.backend, self.loss, self.metrics), len(batches))
        if self._left_off is not None:
            epoch.load_state_dict(self._left_off)
        self._running, self._left_off = epoch, None
        for number, raw in enumerate(pairs(batches, "train"), start=1):
            if number <= epoch.done:
                continue
            x, y = checked_batch(self.model, *raw)
            loss, predictions = self._step(x, y)
            epoch.totals.add(loss, predictions, y)
            epoch.done = number
            if self.model.backend.on_host:  # elsewhere a look at the loss would wait for the device
                self._check_finite(float(loss), f"batch {number} of ")
            info = StepInfo(number, self.steps_per_epoch, x.shape[0], loss)
            for callback in self.callbacks:
                callback.on_step_end(self, info)
        logs = numbers(epoch.totals.means())  # waits for the device
        self._check_finite(logs["loss"], "")
        seconds = epoch.seconds
        return {
            **logs,
            "learning_rate": self.optimizer.lr,
            "seconds": seconds,
            "images_per_second": epoch.totals.images / seconds,
        }

    def _check_finite(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise DivergenceError(
                f"loss: got {loss} in {where}epoch {self.epoch + 1}, before step {self.step + 1}, at a learning rate of"
                f" {self.optimizer.lr:g}; allowed: a finite one (a lower learning rate may help)"
            )

    def _record(self, logs: dict[str, float]) -> None:
        """Count an epoch and append it to the history: both or neither."""
        epoch, history = self.epoch, {name: list(values) for name, values in self.history.history.items()}
        try:
            self.history.append(logs)
            self.epoch = epoch + 1
        except BaseException:
            self.history.history, self.epoch = history, epoch
            raise

    def _checked_sizes(self, train: Any, validation: Any, batch_size: Any, shuffle: Any) -> tuple[int, bool]:
        """Return the size of batches and whether to shuffle, of pairs; what would have no effect is refused."""
        if shuffle is not None and not is_pair(train):
            raise ArgumentError(
                f"shuffle: got {shuffle!r} with batches; allowed: with a pair of arrays (a DataLoader takes its own)"
            )
        if batch_size is not None and not is_pair(train) and not is_pair(validation):
            raise ArgumentError(f"batch_size: got {batch_size!r} with batches; allowed: with a pair of arrays")
        return 128 if batch_size is None else batch_size, True if shuffle is None else shuffle

    def _compare_schedule(self, epochs: int) -> None:
        """Warn of a schedule that was counted in epochs, as others do."""
        begun = self.step - (0 if self._left_off is None else self._left_off["done"])  # of the epoch
        text = misfit(self.schedule, begun, self.steps_per_epoch, epochs)
        if text:
            warnings.warn(f"schedule: got {text}", stacklevel=3)
