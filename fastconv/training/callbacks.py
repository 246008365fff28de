"""What can be done while a model is trained: progress on the terminal, files of weights, anything of one's own."""

from __future__ import annotations

import difflib
import math
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TextIO

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv._console import make_console
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.metrics import Metric
from fastconv.nn import Layer
from fastconv.optim import Optimizer
from fastconv.training.history import History

_REFRESH = 0.25  # seconds


@dataclass(frozen=True)
class StepInfo:
    """One training step that was done.

    Attributes
    ----------
    batch, batches : int
        Its number in the epoch, from 1, and how many there are.
    images : int
        Size of the batch.
    loss : () array of the backend
        ``float(loss)`` waits for the device.
    """

    batch: int
    batches: int
    images: int
    loss: Array


class Training(Protocol):
    """What callbacks see of a `Trainer`; its attributes are described there."""

    model: Layer
    optimizer: Optimizer
    history: History
    step: int
    epoch: int
    steps_per_epoch: int
    last_epoch: int
    validates: bool
    stop: bool
    metrics: tuple[Metric, ...] | None

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that an epoch may have in the history."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that going on needs."""
        ...


class Callback(Declared):
    """Base class: override what is needed. ``trainer.stop = True`` ends the training after the epoch.

    One that has a state which a training that is taken up again needs gives it as `state_dict`, a dict of numbers,
    strings and NumPy arrays, and takes it as `load_state_dict`, all or nothing, before `on_train_begin`.

    Attributes
    ----------
    saves : bool
        Whether it writes the state of the training, and so is called behind the others, after steps and epochs.
    """

    saves: ClassVar[bool] = False

    def on_train_begin(self, trainer: Training) -> None:
        """Do something before the first step of `Trainer.fit`."""

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        """Do something after each step."""

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Do something after each epoch and its validation; `logs` is the epoch's entry in the history."""

    def on_train_end(self, trainer: Training) -> None:
        """Do something at the end of `Trainer.fit`, also when it ends by an exception."""


_COLUMNS = {"loss": 10, "accuracy": 10, "val_loss": 10, "val_accuracy": 14}  # quantity: width; 80 is all there is


def epoch_heading(epochs: int, logs: dict[str, float]) -> str:
    """Return the heading of the lines of `epoch_line`."""
    names = "".join(f"{name:>{width}}" for name, width in _COLUMNS.items() if name in logs)
    return f"{'':{len(f'epoch {epochs}/{epochs}')}}{names}{'seconds':>9}{'images/s':>10}"


def epoch_line(epoch: int, epochs: int, logs: dict[str, float]) -> str:
    """Return one epoch in one line of text, of at most 80 columns."""
    number = f"epoch {epoch:{len(str(epochs))}d}/{epochs}"
    values = "".join(f"{_short(logs[name]):>{width}}" for name, width in _COLUMNS.items() if name in logs)
    return f"{number}{values}{logs['seconds']:9.1f}{logs['images_per_second']:10,.0f}"


def _short(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.2e}"


class ProgressDisplay(Callback):
    """One line per epoch under a heading, and a moving bar where there is a terminal.

    Parameters
    ----------
    stream : text stream or None
        Where the lines go; ``sys.stderr`` if None.
    bar : text stream or None
        Where the bar moves, if that is a terminal; `stream` if None.
    """

    def __init__(self, stream: TextIO | None = None, *, bar: TextIO | None = None) -> None:
        self._stream, self._bar_stream = stream, bar
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, trainer: Training) -> None:
        """Show the bar."""
        self._images, self._begin, self._next = 0, time.perf_counter(), 0.0
        self._headed = False
        stream = self._bar_stream or self._out
        if not stream.isatty():
            return
        from rich import progress

        def text(form: str) -> Any:
            return progress.TextColumn(form, markup=False)

        self._bar = progress.Progress(
            text("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            text("{task.fields[text]}"),
            progress.TimeElapsedColumn(),
            console=make_console(stream),
            refresh_per_second=1 / _REFRESH,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._epoch_text(trainer, 1), total=trainer.steps_per_epoch, text="")

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        """Move the bar, a few times a second."""
        self._images += info.images
        now = time.perf_counter()
        if self._bar is None or (now < self._next and info.batch < info.batches):
            return
        self._next = now + _REFRESH
        text = f"{self._images / (now - self._begin):,.0f} images/s"
        if trainer.model.backend.on_host:  # elsewhere a look at the loss would wait for the device
            text = f"loss {float(info.loss):.4f}  {text}"
        self._bar.update(self._task, completed=info.batch, text=text)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Print the line of the epoch."""
        if not self._headed:
            self._headed = True
            self._print(epoch_heading(trainer.last_epoch, logs))
        self._print(epoch_line(trainer.epoch, trainer.last_epoch, logs))
        if self._bar is not None:
            following = min(trainer.epoch + 1, trainer.last_epoch) - trainer.epoch
            self._bar.reset(self._task, description=self._epoch_text(trainer, following), text="")
        self._images, self._begin = 0, time.perf_counter()

    def on_train_end(self, trainer: Training) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        if self._bar is not None and self._out.isatty():  # above the bar, which would be in its way
            self._bar.console.print(line, soft_wrap=True)
        else:
            print(line, file=self._out, flush=True)

    @property
    def _out(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stderr

    @staticmethod
    def _epoch_text(trainer: Training, ahead: int) -> str:
        return f"epoch {trainer.epoch + ahead}/{trainer.last_epoch}"


class ModelCheckpoint(Callback):
    """After each epoch writes ``last.safetensors``, for `Trainer.restore`, and the best weights, ``best.safetensors``.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    monitor : str or None
        The quantity that decides what is best of the trainer's history: the greatest if its name ends in "accuracy",
        else the least; what is not finite is never best, nor is an accuracy whose loss is not. By default the first
        there is of "val_accuracy", "val_loss", "loss". `Trainer.fit` refuses one that it does not record.
    save_every_steps : int or None
        Write the newest state after so many steps, too, in the middle of an epoch.
    """

    saves = True

    def __init__(
        self, directory: str | os.PathLike[str], *, monitor: str | None = None, save_every_steps: int | None = None
    ) -> None:
        self.directory = Path(directory)
        self.monitor = monitor
        if save_every_steps is not None:
            validate.at_least_one(save_every_steps, "save_every_steps")
        self.save_every_steps = save_every_steps

    def __repr__(self) -> str:
        return f"ModelCheckpoint({str(self.directory)!r}, monitor={self.monitor!r})"

    @property
    def last_path(self) -> Path:
        """The file of the newest state."""
        return self.directory / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """The file of the best weights."""
        return self.directory / "best.safetensors"

    def on_train_begin(self, trainer: Training) -> None:
        """Make the directory."""
        self._check_monitor(trainer.quantities)
        self.directory.mkdir(parents=True, exist_ok=True)

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        """Write the state, if it is time."""
        if self.save_every_steps and trainer.step % self.save_every_steps == 0:
            trainer.save(self.last_path)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Write the files."""
        trainer.save(self.last_path)
        name = self.monitor or next(key for key in ("val_accuracy", "val_loss", "loss") if key in logs)
        self._check_monitor(logs)
        history = trainer.history.history
        *before, now = (
            _score(trainer, name, value)
            if math.isfinite(loss)
            else math.nan  # accuracy of NaN: that of the first class
            for value, loss in zip(history[name], history["val_loss" if "val_loss" in logs else "loss"], strict=True)
        )
        if math.isfinite(now) and now > max(filter(math.isfinite, before), default=-math.inf):
            trainer.model.save_weights(self.best_path)

    def _check_monitor(self, names: Iterable[str]) -> None:
        if self.monitor is not None and self.monitor not in (names := list(names)):
            near = difflib.get_close_matches(str(self.monitor), names, 1, 0)
            raise ArgumentError(
                f"monitor: got {self.monitor!r}; allowed: what this training records, {', '.join(names)}"
                f" (nearest: {near[0]!r})"
            )


def _score(trainer: Training, name: str, value: float) -> float:
    """Return a number of the history as one that is the larger the better."""
    plain = name.removeprefix("val_")
    for metric in trainer.metrics or ():
        if metric.name in (plain, plain.rpartition("_")[0]):
            return metric.score(value)
    return value if plain == "accuracy" else -value
