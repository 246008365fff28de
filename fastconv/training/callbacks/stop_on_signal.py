"""An end of training when somebody says so: a cluster whose time is nearly over, or a shell."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.training.callbacks.callback import Callback, StepInfo, Training


class StopOnSignal(Callback):
    """Ends the training after the step in which a signal comes; a `ModelCheckpoint` then leaves a state to go on from.

    Slurm sends one before a job's time is over (``sbatch --signal=USR1@300``). Of several processes that train together
    it is enough if one is told: all end after the same step, and the state is written when `Trainer.fit` returns.

    Parameters
    ----------
    number : int
        Which signal. It is listened to within `Trainer.fit` only; then whoever listened before does so again.

    Attributes
    ----------
    is_told : bool
        Whether the signal came to this process in the present or last `fit`. ``trainer.stop_now`` says on all processes
        whether it came to one.

    Raises
    ------
    ArgumentError
        When `fit` begins on another thread than the main one, which alone may listen to signals.

    Examples
    --------
    >>> import os, signal
    >>> class Told(fc.training.Callback):
    ...     def on_step_end(self, trainer, info):
    ...         os.kill(os.getpid(), signal.SIGUSR1)
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, stop = fc.optim.SGD(model.parameters(), 0.1), fc.training.StopOnSignal()
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=[Told(), stop])
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 100, batch_size=1)
    >>> stop.is_told, trainer.stop_now, trainer.step
    (True, True, 1)
    """

    def __init__(self, number: int = signal.SIGUSR1) -> None:
        known = not isinstance(number, bool) and number in signal.valid_signals()
        if not known or number in (signal.SIGKILL, signal.SIGSTOP):
            raise ArgumentError(f"number: got {number!r}; allowed: a signal that a program can listen to")
        self.number = signal.Signals(number)
        self.is_told = False
        self._before: Any = None
        self._listens = False

    def __repr__(self) -> str:
        return f"StopOnSignal({self.number.name})"

    def on_train_begin(self, trainer: Training) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ArgumentError(
                f"callbacks: got {self!r} in a training on {threading.current_thread().name!r}; allowed: on the main"
                " thread, which alone may listen to signals"
            )
        self.is_told = False
        self._before, self._listens = signal.getsignal(self.number), True
        signal.signal(self.number, self._hear)

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self.is_told:
            trainer.stop_now = True

    def on_train_end(self, trainer: Training) -> None:
        if self._listens:  # None stands for a handler that is not Python's, and cannot be put back
            signal.signal(self.number, signal.SIG_DFL if self._before is None else self._before)
            self._before, self._listens = None, False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.is_told = True
