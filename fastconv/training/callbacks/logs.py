"""Logs of a training in files: comma-separated values, and lines of JSON.

A line tells the step after which it was written. A training that was taken up again keeps the lines up to its step and
takes away those after it, which come again: so the file is that of a run that was never interrupted.
"""

from __future__ import annotations

import abc
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastconv import _validate as validate
from fastconv._files import home_path_of, parsed_json, write_atomically, writing
from fastconv.errors import ArgumentError
from fastconv.training.callbacks.callback import Callback, StepInfo, Training
from fastconv.training.callbacks.writing import append_line, check_file

_CUT_OFF = 2**63  # the step of a line that is not whole: after all others


class _LineLog(Callback):
    """A text file with lines of steps and epochs."""

    first_rank_only = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = home_path_of(path, "path")
        self._left: tuple[int, int, int] | None = None  # the file, and its size, as this object left it

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def on_train_begin(self, trainer: Training) -> None:
        check_file("path", self.path)
        if trainer.step:
            self._check_left()
        with writing("path", self.path):
            old = self.path.read_text(encoding="utf-8", errors="replace").split("\n") if self.path.exists() else []
            kept = [line for line in old if line and (self._step(line, old[0], trainer) or 0) <= trainer.step]
            head = self._head(trainer)
            lines = head + kept[len(head) :] if trainer.step else head
            self._left = None  # if an interrupt comes now
            write_atomically(self.path, "".join(f"{line}\n" for line in lines).encode())
            self._left = self._file()

    def _append(self, line: str) -> None:
        self._check_left()
        append_line("path", self.path, line)
        self._left = self._file()

    def _file(self) -> tuple[int, int, int]:
        found = self.path.stat()
        return found.st_dev, found.st_ino, found.st_size

    def _check_left(self) -> None:
        """Refuse a file that took the place of the one that this object wrote: lines of two trainings would mix."""
        if self._left is not None and self.path.exists():
            *file, size = self._file()
            if file != list(self._left[:2]) or size < self._left[2]:
                raise self._foreign("which another training wrote anew", "a file of its own for each training")

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without what is known of the file: a copy may go on where another one was."""
        return {**vars(self), "_left": None}

    def _foreign(self, what: str, allowed: str) -> ArgumentError:
        return ArgumentError(f"path: got {str(self.path)!r}, {what}; allowed: {allowed}")

    @abc.abstractmethod
    def _head(self, trainer: Training) -> list[str]:
        """Return the lines that the file begins with."""

    @abc.abstractmethod
    def _step(self, line: str, first: str, trainer: Training) -> int | None:
        """Return the step that a line of an older file tells, None for its head; ArgumentError if it is another's."""


class CSVLogger(_LineLog):
    """One line per epoch in a file of comma-separated values, under a line of names.

    The columns are "epoch", "step" and the quantities that the history may have. What an epoch does not have is empty;
    what is not finite is ``nan``, ``inf`` or ``-inf``.

    Parameters
    ----------
    path : path
        A file that this class wrote may be there: a training from the first step on replaces it, one that was taken up
        again goes on with it. Any other file is refused.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, log = fc.optim.SGD(model.parameters(), 0.1), fc.training.CSVLogger("log.csv")
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=log)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
    >>> with open("log.csv") as file:
    ...     print(file.readline().strip())
    epoch,step,loss,accuracy,learning_rate,seconds,images_per_second
    """

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        values = [logs.get(name) for name in trainer.quantities]
        texts = ["" if value is None else repr(float(value)) for value in values]
        self._append(",".join([str(trainer.epoch), str(trainer.step), *texts]))

    def _head(self, trainer: Training) -> list[str]:
        return [",".join(("epoch", "step", *trainer.quantities))]

    def _step(self, line: str, first: str, trainer: Training) -> int | None:
        if not first.startswith("epoch,step,"):
            raise self._foreign("a file that CSVLogger did not write", "one that it wrote, or a new one")
        if trainer.step and first != self._head(trainer)[0]:
            raise self._foreign(f"with the columns {first}", f"those of this training, {self._head(trainer)[0]}")
        if line == first:
            return None
        fields = line.split(",")
        return int(fields[1]) if len(fields) == len(first.split(",")) and fields[1].isdigit() else _CUT_OFF


class JSONLinesLogger(_LineLog):
    """One JSON object per line: ``{"event": "epoch", "epoch": 1, "step": 391, "loss": 1.62, ...}``.

    What is not finite is ``null``.

    Parameters
    ----------
    path : path
        As of `CSVLogger`.
    every_steps : int or None
        After so many steps a line with "event" "step", and "epoch", "step", "loss" (of that batch) and "learning_rate";
        elsewhere than on the host it waits for the device. None writes lines of epochs only.

    Examples
    --------
    >>> import json
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, log = fc.optim.SGD(model.parameters(), 0.1), fc.training.JSONLinesLogger("log.jsonl")
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=log)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
    >>> with open("log.jsonl") as file:
    ...     [json.loads(line)["epoch"] for line in file if '"event": "epoch"' in line]
    [1, 2]
    """

    def __init__(self, path: str | os.PathLike[str], *, every_steps: int | None = None) -> None:
        super().__init__(path)
        self.every_steps = validate.at_least_one_or_none(every_steps, "every_steps")

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self.every_steps and trainer.step % self.every_steps == 0:
            quantities = {"loss": float(info.loss), "learning_rate": trainer.optimizer.lr}
            self._event("step", trainer.epoch + 1, trainer.step, quantities)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        self._event("epoch", trainer.epoch, trainer.step, logs)

    def _event(self, event: str, epoch: int, step: int, quantities: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in quantities.items()}
        self._append(json.dumps({"event": event, "epoch": epoch, "step": step, **finite}))

    def _head(self, trainer: Training) -> list[str]:
        return []

    def _step(self, line: str, first: str, trainer: Training) -> int | None:
        if not first.startswith('{"event": '):
            raise self._foreign("a file that JSONLinesLogger did not write", "one that it wrote, or a new one")
        try:
            found: Any = parsed_json(line)["step"]
            return int(found)
        except (ValueError, KeyError, TypeError, OverflowError):  # a line that was cut off
            return _CUT_OFF
