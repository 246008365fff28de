"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import numbers
import sys
import time
from typing import Any, TextIO

from fastconv._console import short_number
from fastconv.errors import ArgumentError
from fastconv.training.callbacks.bars import REFRESH, Bar, in_notebook, open_bar
from fastconv.training.callbacks.callback import Callback, StepInfo, Training

_COLUMNS = {"loss": 10, "accuracy": 10, "val_loss": 10, "val_accuracy": 14}  # quantity: width; 80 is all there is


def epoch_heading(epochs: int, logs: dict[str, float]) -> str:
    """Return the heading of the lines of `epoch_line`."""
    names = "".join(f"{name:>{width}}" for name, width in _COLUMNS.items() if name in logs)
    return f"{'':{len(f'epoch {epochs}/{epochs}')}}{names}{'seconds':>9}{'images/s':>10}"


def epoch_line(epoch: int, epochs: int, logs: dict[str, float]) -> str:
    """Return one epoch in one line of text, of at most 80 columns."""
    number = f"epoch {epoch:{len(str(epochs))}d}/{epochs}"
    values = "".join(f"{short_number(logs[name]):>{width}}" for name, width in _COLUMNS.items() if name in logs)
    return f"{number}{values}{logs['seconds']:9.1f}{logs['images_per_second']:10,.0f}"


def more_lines(logs: dict[str, float], indent: int) -> list[str]:
    """Return what else there is to tell of an epoch, metrics that were asked for, in lines of at most 80 columns."""
    told = {*_COLUMNS, "learning_rate", "seconds", "images_per_second"}
    lines: list[str] = []
    for name, value in logs.items():
        if name in told or "/" in name or not isinstance(value, numbers.Real):  # the history has what is of one layer
            continue
        word = f"{name} {short_number(value)}"
        if lines and len(lines[-1]) + 2 + len(word) <= 80 - indent:
            lines[-1] += f"  {word}"
        else:
            lines.append(word)
    return lines


def _checked(stream: Any, name: str) -> Any:
    """Return a stream that takes text, or None; bytes go where text is refused."""
    binary = isinstance(stream, io.RawIOBase | io.BufferedIOBase)
    if stream is not None and (
        binary or not all(callable(getattr(stream, each, None)) for each in ("write", "flush", "isatty"))
    ):
        raise ArgumentError(f"{name}: got {stream!r:.100}; allowed: a text stream, such as sys.stderr, or None")
    return stream


class ProgressDisplay(Callback):
    """One line per epoch under a heading, and a moving bar in a terminal or a notebook.

    Metrics other than the accuracy, and what the optimizer tells, are named in lines of their own below.

    Parameters
    ----------
    stream : text stream or None
        Where the lines go; ``sys.stderr`` if None, in a notebook ``sys.stdout``.
    bar : text stream or None
        Where the bar moves, if that is a terminal; `stream` if None. In a file and in a dumb terminal there is none.

    Examples
    --------
    >>> import sys
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, display = fc.optim.SGD(model.parameters(), 0.1), fc.training.ProgressDisplay(sys.stdout)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=display)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
                   loss  seconds  images/s
    epoch 1/2    0.3073...
    epoch 2/2    0.1106...
    """

    first_rank_only = True

    def __init__(self, stream: TextIO | None = None, *, bar: TextIO | None = None) -> None:
        self._stream, self._bar_stream = _checked(stream, "stream"), _checked(bar, "bar")
        self._bar: Bar | None = None

    def on_train_begin(self, trainer: Training) -> None:
        self._images, self._begin, self._next = 0, time.perf_counter(), 0.0
        self._headed = False
        self._bar = open_bar(self._bar_stream or self._out, trainer.steps_per_epoch)
        if self._bar is not None:
            self._bar.begin(self._epoch_text(trainer, 1))

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        self._images += info.images
        now = time.perf_counter()
        if self._bar is None or (now < self._next and info.batch < info.batches):
            return
        self._next = now + REFRESH
        text = f"{self._images / (now - self._begin):,.0f} images/s"
        if trainer.model.backend.on_host:  # elsewhere a look at the loss would wait for the device
            text = f"loss {short_number(float(info.loss))}  {text}"
        self._bar.move(info.batch, text)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        if not self._headed:
            self._headed = True
            self._print(epoch_heading(trainer.last_epoch, logs))
        self._print(epoch_line(trainer.epoch, trainer.last_epoch, logs))
        indent = len(f"epoch {trainer.last_epoch}/{trainer.last_epoch}") + 4
        for line in more_lines(logs, indent):
            self._print(f"{'':{indent}}{line}")
        if self._bar is not None:
            following = min(trainer.epoch + 1, trainer.last_epoch) - trainer.epoch
            self._bar.begin(self._epoch_text(trainer, following))
        self._images, self._begin = 0, time.perf_counter()

    def on_train_end(self, trainer: Training) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, line: str) -> None:
        if self._bar is not None and (self._out.isatty() or in_notebook()):
            self._bar.print(line)
        else:
            print(line, file=self._out, flush=True)

    @property
    def _out(self) -> TextIO:
        if self._stream is not None:
            stream: TextIO = self._stream
            return stream
        return sys.stdout if in_notebook() else sys.stderr  # which looks like an error there

    @staticmethod
    def _epoch_text(trainer: Training, ahead: int) -> str:
        return f"epoch {trainer.epoch + ahead}/{trainer.last_epoch}"
