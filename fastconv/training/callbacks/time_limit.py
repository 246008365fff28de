"""An end of training at a time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import get_args

from fastconv import _validate as validate
from fastconv._files import home_path_of, writing
from fastconv.optim.schedules.schedule import Unit
from fastconv.training.callbacks.callback import Callback, StepInfo, Training
from fastconv.training.callbacks.writing import check_file


class TimeLimit(Callback):
    """Ends the training after the epoch, or the step, in which its time is up, and leaves a state to go on from.

    Parameters
    ----------
    seconds : float
        Counted from the beginning of `Trainer.fit`: of each of them, also of one that takes a training up again.
    by : "epoch" or "step"
        What is done to its end. An epoch that is left in its middle is not in the history.
    path : path or None
        Where the state is written when the time is up, for `Trainer.restore`. None leaves it to a `ModelCheckpoint`.

    Attributes
    ----------
    is_up : bool
        Whether it ended the present or last `fit`.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, limit = fc.optim.SGD(model.parameters(), 0.1), fc.training.TimeLimit(1e-9)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=limit)
    >>> one = np.ones((4, 1), np.float32)
    >>> trainer.fit((one, one), 100).epochs, limit.is_up
    (1, True)
    """

    first_rank_only = True

    def __init__(self, seconds: float, *, by: Unit = "epoch", path: str | os.PathLike[str] | None = None) -> None:
        self.seconds = validate.number(seconds, "seconds", low=0.0, open_low=True)
        self.by = validate.one_of(by, "by", get_args(Unit))
        self.path = None if path is None else home_path_of(path, "path")
        self.is_up = False
        self._end = 0.0

    def __repr__(self) -> str:
        return f"TimeLimit({self.seconds!r}, by={self.by!r})"

    def files(self) -> tuple[Path, ...]:
        return () if self.path is None else (self.path,)

    def on_train_begin(self, trainer: Training) -> None:
        if self.path is not None:
            check_file("path", self.path)
        self.is_up, self._end = False, time.monotonic() + self.seconds

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self.by == "step" and time.monotonic() >= self._end:
            self.is_up = trainer.stop_now = True

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        if time.monotonic() >= self._end and trainer.epoch < trainer.last_epoch:
            self.is_up = trainer.stop = True

    def on_train_end(self, trainer: Training) -> None:
        if self.is_up and self.path is not None:
            with writing("path", self.path):
                trainer.save(self.path)
