"""The training loop.

A step is: forward, loss, backward, clipping, update. Sums for the history stay on the device until the epoch ends, so
that no step waits for it; all arrays come from the backend's pool, so that in steady state a step maps no new memory.
Where the backend can capture, a step is captured when its shape first comes, and replayed from then on (captured.py).
The random numbers of a step depend on the seed and the number of the step only, so that a run can be taken up again
after any epoch and gives the same bits.

What a step changes (parameters, running statistics, the optimizer's state, counters) it changes whole or not at all,
whatever interrupts it: until the update is done everything is put back, from then on everything is counted. The update
itself is one call into compiled code, or is undone (`Optimizer.apply`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import methodcaller
from typing import Any, ClassVar

from fastconv import _validate as validate
from fastconv import random
from fastconv._attributes import fixed
from fastconv._calls import tells_habits
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import Schedule
from fastconv.parallel.data_parallel import DataParallel
from fastconv.training import parts, rates
from fastconv.training.alone import alone
from fastconv.training.batches import Batches, as_batches, checked_batch, size_of_batches
from fastconv.training.callbacks import Callback, StepInfo
from fastconv.training.captured import check_capture
from fastconv.training.checkpoint import read_state, write_state
from fastconv.training.clipping import Clip
from fastconv.training.divergence import check_finite
from fastconv.training.fit_data import FitData, fit_data
from fastconv.training.habits import EVALUATE, FIT, TRAIN_STEP
from fastconv.training.history import History
from fastconv.training.position import Position
from fastconv.training.sharing import Sharing
from fastconv.training.totals import Totals, names_of, numbers
from fastconv.training.weights import ClassWeight


class Trainer(Sharing):
    """Trains a built model.

    Parameters
    ----------
    model : Layer
        Built; it is trained in place.
    loss : Loss
        ``loss(predictions, targets) -> (loss, grad)``: a number, the mean over the batch, and its gradient.
    optimizer : Optimizer
        Of the model's parameters, or some of them.
    schedule : callable or None
        Gives the learning rate of each step, counted from 0, or of each epoch, if it has ``by = "epoch"``; the
        optimizer's own stays if None. One that watches results (`fastconv.optim.schedules.Watching`) is shown
        what each epoch came to.
    callbacks : Callback or iterable of Callback
        Told of steps and epochs; see `fastconv.training.Callback`.
    metrics : Metric, iterable of Metric, or None
        Measured besides the loss, such as ``fastconv.metrics.F1()``; None: the accuracy where there are class numbers.
    clip : ClipValue, ClipNorm, ClipGlobalNorm or None
        Limits the gradients before each update; see `fastconv.training.clipping`.
    accumulate : int
        Into how many pieces a batch is cut that go through the network one after the other, to take less memory: the
        gradients are those of the whole batch, up to rounding, 6e-8 a piece at most in float32. So a batch is a step,
        whatever this is, and one that is smaller than the others counts as it is. `BatchNorm2d` sees a piece at a time:
        it normalises by its statistics, and its running ones move with each.
    seed : int or None
        Of dropout; that of `fastconv.seed` by default.
    capture : bool or None
        Whether steps are captured and replayed, which saves the time between kernels and gives the same bits. None does
        so where the backend can and all layers, the loss and the optimizer declare their settings, as fastconv's own do
        (what others compute outside of the backend would not be repeated); True demands it.
    parallel : DataParallel or None
        How steps are shared with other processes, which all run this program: see docs/scale-out.md. Each computes its
        shards of a batch; batches, what `evaluate` returns, the history and the files are those of one process.

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
    stop_now : bool
        A callback sets it to end `fit` after the step; the epoch is not recorded, and the next `fit` goes on with it.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(8), fc.nn.ReLU(), fc.nn.Dense(2)).build((2,), seed=0)
    >>> trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), lr=0.05))
    >>> x = np.random.default_rng(0).standard_normal((64, 2), dtype=np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int32)
    >>> history = trainer.fit((x, y), 20, batch_size=16)
    >>> trainer.evaluate((x, y))["accuracy"] > 0.95
    True
    """

    habits: ClassVar[Mapping[str, str]] = {
        "stop_training": "trainer.stop",
        "should_stop": "trainer.stop",
        "predict": "trainer.model.predict(x)",
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
        clip: Clip | None = None,
        accumulate: int = 1,
        seed: int | None = None,
        capture: bool | None = None,
        parallel: DataParallel | None = None,
    ) -> None:
        self.model, self.loss, self.schedule = model, loss, schedule
        self.clip, self.accumulate, self.optimizer = clip, accumulate, optimizer
        self.callbacks: tuple[Callback, ...] = callbacks  # type: ignore[assignment]  # made one by its check
        self.metrics: tuple[Metric, ...] | None = metrics  # type: ignore[assignment]  # so is this
        self.step = self.epoch = self.steps_per_epoch = self.last_epoch = 0
        self.history = History()
        self.validates = self.stop = self.stop_now = self._fits = False
        self._left_off: Mapping[str, Any] | None = None
        self._running: Position | None = None
        if capture is not None and validate.truth(capture, "capture", "None, True, False"):
            check_capture(self.model, self.loss, self.optimizer)
        self._capture, self._must_capture = model.backend.captures if capture is None else capture, bool(capture)
        self.parallel, self.seed = parallel, random.get_seed() if seed is None else seed
        parts.check_together(self.parallel, model, loss, accumulate=self.accumulate, capture=capture)
        self._classes: Array | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in parts.CHECKS:
            value = parts.CHECKS[name](value)
        elif name == "optimizer":
            value = parts.checked_optimizer(value, self.model)
        super().__setattr__(name, value)

    def _new_value(self, name: str, value: Any) -> Any:
        if name == "model" and not set(self.optimizer.parameters) <= set(value.parameters()):
            raise fixed(self, name, "a new Trainer, with an optimizer of its parameters")
        return value  # checked by __setattr__, as in __init__

    def __repr__(self) -> str:
        return f"Trainer(epoch {self.epoch}, step {self.step}, {self.loss!r}, {self.optimizer!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the captured step, which is captured again, and what only lasts for a step."""
        without = dict.fromkeys(("_captured", "_shared", "_squares", "_running"))
        return {**vars(self), **without, "_left_off": self.position, "_fits": False}

    @tells_habits(FIT)
    def fit(
        self,
        train: Any,
        epochs: int,
        validation_data: Any = None,
        *,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        class_weight: ClassWeight | None = None,
        sample_weight: Any = None,
        validation_split: float | None = None,
    ) -> History:
        """Train for `epochs` more epochs.

        Parameters
        ----------
        train : DataLoader, iterable of (x, y) or (x, y, weight) with a length, or such arrays
            What is learned from.
        epochs : int
            At least 1.
        validation_data : like `train`, or None
            Evaluated after each epoch, so without augmentation.
        batch_size : int or None
            Of pairs of arrays; 128 by default.
        shuffle : bool or None
            Whether a pair of arrays is taken in a new random order in each epoch, which is the default; False keeps
            theirs. The order depends on the trainer's seed and the number of the epoch, so a run that was restored
            repeats it. A `DataLoader` has a setting of its own.
        class_weight : dict of class number to float, sequence of one for each class, or None
            What a sample of each class counts in training; 1 if a dict leaves it out.
        sample_weight : (M,) array or None
            What each sample of a pair of arrays counts in training; times that of its class. The mean over a batch
            divides by the sum of the weights, so that a sample of weight 2 counts as two.
        validation_split : float or None
            The share of a pair of arrays, between 0 and 1, that is kept for validation: the last rows, whatever their
            order, as in Keras. (`Dataset.split(stratified=True)` keeps a share of each class.)

        Returns
        -------
        History
            Of all epochs so far.

        Raises
        ------
        DivergenceError
            The loss is no longer finite. The epoch is not recorded.
        DataError
            There are no batches.
        """
        parts.check_fit(self, self._fits, validation_data is not None or validation_split is not None)
        with alone(self.model):
            data = fit_data(
                *(self.model, self.seed, train, validation_data),
                batch_size=batch_size,
                shuffle=shuffle,
                class_weight=class_weight,
                sample_weight=sample_weight,
                validation_split=validation_split,
            )
            self.last_epoch = self.epoch + validate.at_least_one(epochs, "epochs")
            self.steps_per_epoch, self.validates = len(data.train), data.validation is not None
            groups = [group for group in self.optimizer.groups if not group.is_frozen]
            for schedule in (self.schedule, *(group.schedule for group in groups)):
                rates.compare(schedule, self, stacklevel=3)
            self._agree(data)
            self.stop, self.stop_now = self.stop and self._left_off is not None, False
            try:
                self._fits = True
                self._run_epochs(data)
            finally:
                self._fits, self._running = False, None
        return self.history

    def _run_epochs(self, data: FitData) -> None:
        """Train until the last epoch or until something ends it; callbacks are told of the end, whatever it is."""
        self._classes = data.classes
        try:
            for callback in self.called:
                callback.on_train_begin(self)
            batches = self._share_of(data.in_order_of(self.seed), "train")  # one of them may have restored another's
            while self.epoch < self.last_epoch and (self._left_off is not None or not self.stop):
                logs = self._train_epoch(batches)
                if logs is None:
                    break
                if data.validation is not None:
                    means = numbers(self._means(data.validation, "validation_data"))
                    logs.update({f"val_{name}": value for name, value in means.items()})
                rates.record(self, logs)
                self._running = None
                self._tell(methodcaller("on_epoch_end", self, logs))
        except SystemExit as leaving:
            self._leave(leaving)
        finally:
            self._fits, self._classes = False, None
            self._tell_all(methodcaller("on_train_end", self))
        self._await_files()

    @property
    def position(self) -> Mapping[str, Any] | None:
        """How far the present epoch is, as `save` writes it; None between two epochs."""
        return self._left_off if self._running is None else self._running.state_dict()

    @position.setter
    def position(self, state: Mapping[str, Any] | None) -> None:
        self._left_off, self._running = state, None

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that an epoch of the present `fit` may have in the history."""
        means = names_of(self.metrics, self.model.infer(self.model.input_shape)[-1])
        validated = tuple(f"val_{name}" for name in means) if self.validates else ()
        told = self.optimizer.quantities()
        return (*means, *validated, "learning_rate", "seconds", "images_per_second", *told)

    @tells_habits(TRAIN_STEP)
    def train_step(self, x: Array, y: Array, sample_weight: Array | None = None) -> Array:
        """Do one step and return its loss, a () array of the backend: ``float(loss)`` waits for the device.

        Parameters
        ----------
        x : (N, ...) array
            A batch.
        y : (N, ...) array
            As the loss takes it.
        sample_weight : (N,) array or None
            What each row counts.

        Returns
        -------
        () array
            The loss before the update.
        """
        if self.parallel is not None:
            raw = (x, y) if sample_weight is None else (x, y, sample_weight)
            turn = self._turn(next(iter(self._share_of([raw], "x, y"))))
            return turn.do(Totals(self.model.backend, self.loss, ()))[0]
        return self._step(checked_batch(self.model, x, y, sample_weight)).loss

    @tells_habits(EVALUATE, "evaluate((x, y))")
    def evaluate(self, data: Any, *, batch_size: int | None = None) -> dict[str, Any]:
        """Return the mean loss and the metrics over `data`: numbers, or NumPy arrays.

        The loss is weighted where there are weights; metrics count each sample once.

        Parameters
        ----------
        data : like `train` of `fit`
            What is measured, each sample once and as it is, of a loader too; DataError if there is nothing in it.
        batch_size : int or None
            Of a pair of arrays; 256 by default.

        Returns
        -------
        dict
            "loss", and each metric by its name.
        """
        return self._means(as_batches(data, "data", self.model, size_of_batches(batch_size, 256, data)), "data")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `restore` needs to one file, all or nothing; of several ranks the first one does.

        Parameters
        ----------
        path : str or path
            The file, new or to be replaced.
        """
        if self.parallel is None or self.parallel.rank == 0:
            write_state(self, path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from what `save` wrote: training gives the same bits as if it had not been interrupted.

        Model, optimizer, schedule and callbacks must be made as they were; the file holds values only. After one that
        was written in the middle of an epoch `fit` begins after the batches that were done, which must come again.

        Parameters
        ----------
        path : str or path
            The file that `save` wrote.

        Raises
        ------
        CheckpointError, ArgumentError
            The file is missing, damaged, of another model or optimizer, or an epoch is under way; nothing is changed.
        """
        parts.check_restore(self._fits and self._running is not None)
        read_state(self, path)

    def _train_epoch(self, batches: Batches) -> dict[str, float] | None:
        """Return what to record, or None if a callback ended it."""
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(self.epoch)
        epoch = Position(Totals(self.model.backend, self.loss, self.metrics), len(batches))
        if self._left_off is not None:
            epoch.load_state_dict(self._left_off)
        self._running, self._left_off = epoch, None
        for number, turn in self._turns(batches, epoch.done):
            for callback in self.called:
                callback.on_step_begin(self, turn.x, turn.y)
            loss, images = turn.do(epoch.totals)
            epoch.done = number
            if self.model.backend.on_host:  # elsewhere a look at the loss would wait for the device
                where, norm = f"batch {number} of ", self.gradient_norm
                check_finite(self, self.callbacks, float(loss), where)
                if norm is not None:
                    check_finite(self, self.callbacks, norm, where, "norm of gradients")
            self._tell(methodcaller("on_step_end", self, StepInfo(number, self.steps_per_epoch, images, loss)))
            if self.stop_now:
                self._left_off = epoch.state_dict()
                return None
        logs = numbers(epoch.totals.means())  # waits for the device
        check_finite(self, self.callbacks, logs["loss"], "")
        seconds = epoch.seconds
        return {
            **logs,
            "learning_rate": self.optimizer.lr,
            "seconds": seconds,
            "images_per_second": epoch.totals.images / seconds,
            **self.optimizer.quantities(),
        }


def checked_trainer(trainer: Any) -> Trainer:
    """Return a trainer; ArgumentError for anything else."""
    if not isinstance(trainer, Trainer):
        raise ArgumentError(f"trainer: got {validate.kind_of(trainer)}; allowed: a Trainer(model, loss, optimizer)")
    return trainer
