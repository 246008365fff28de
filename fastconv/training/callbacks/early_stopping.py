"""An end of training where it no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, get_args

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import CheckpointError
from fastconv.nn.model.weights import host_tensors, set_tensors
from fastconv.optim.schedules.plateau import Mode, counted
from fastconv.training.callbacks.callback import Callback, Training, check_state
from fastconv.training.callbacks.monitor import check_monitor, score

_KINDS = {"best": Real | None, "best_epoch": int, "wait": int, "stopped_epoch": int, "weights": Mapping | None}


class EarlyStopping(Callback):
    """Ends the training when a quantity has not got better for `patience` epochs.

    An epoch is better if its quantity differs from the best one by more than `min_delta` in the right direction. Epochs
    that are not are counted; one that is, and is better than `baseline` too, begins the count again. At `patience` the
    training ends, but not after the very first epoch. What is not finite is never better, nor is an accuracy whose loss
    is not.

    Each `fit` begins anew, but for one that goes on from a state that was restored; so does one with `restore_best` in
    the midst of which the model is built with other layers, which the best weights so far do not fit.

    Parameters
    ----------
    monitor : str
        A quantity of the trainer's history; `Trainer.fit` refuses one that it does not record.
    mode : "auto", "min" or "max"
        Which direction is better; "auto" is that of the metric, down for a loss.
    min_delta : float
        At least 0.
    patience : int
        At least 0.
    baseline : float or None
        What has to be surpassed for the count to begin again.
    restore_best : bool
        Whether the model gets the weights of the best epoch back, running statistics too, where the training ends by
        this or by itself (not where it is interrupted). They are kept in the host's memory.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int
        That epoch, from 1; 0 if there is none.
    wait : int
        How many epochs since the count began.
    stopped_epoch : int
        The epoch after which it ended the training; 0 if it did not.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> stop = fc.training.EarlyStopping("loss", min_delta=1e-3, patience=2)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=stop)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 100)
    >>> stop.stopped_epoch == stop.best_epoch + 2 == history.epochs
    True
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        mode: Mode = "auto",
        min_delta: float = 0.0,
        patience: int = 0,
        baseline: float | None = None,
        restore_best: bool = False,
    ) -> None:
        self.monitor: str = validate.instance(monitor, str, "monitor", "a name of the history, as 'val_loss'")
        self.restore_best = validate.truth(restore_best, "restore_best")
        self.mode: Mode = validate.one_of(mode, "mode", get_args(Mode))
        self.min_delta = validate.number(min_delta, "min_delta", low=0.0)
        self.patience = validate.at_least(patience, 0, "patience")
        self.baseline = None if baseline is None else validate.number(baseline, "baseline")
        self._resumed = self._begun = False
        self._begin()

    def __repr__(self) -> str:
        return f"EarlyStopping({self.monitor!r}, mode={self.mode!r}, patience={self.patience})"

    def _begin(self) -> None:
        self.best: float | None = None
        self.best_epoch = self.wait = self.stopped_epoch = 0
        self._weights: dict[str, np.ndarray] | None = None

    def on_train_begin(self, trainer: Training) -> None:
        check_monitor(self.monitor, trainer.quantities)
        if not self._resumed:
            self._begin()
        self._resumed, self._begun = False, True

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        check_monitor(self.monitor, logs)
        value = counted(self.monitor, logs)
        if not self._fits(trainer):
            self._begin()
        self.wait += 1
        if self._better(trainer, value, self.best):
            self.best, self.best_epoch = value, trainer.epoch
            if self.restore_best:
                self._weights = {name: np.array(array) for name, array in host_tensors(trainer.model).items()}
            if self._better(trainer, value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and trainer.epoch > 1:
            self.stopped_epoch, trainer.stop = trainer.epoch, True

    def on_train_end(self, trainer: Training) -> None:
        over = self.stopped_epoch or trainer.epoch >= trainer.last_epoch
        if over and self._begun and self._weights is not None and self._fits(trainer):
            set_tensors(trainer.model, self._weights)
        self._begun = False

    def _fits(self, trainer: Training) -> bool:
        """Tell whether the weights that are kept, if any, are those of the model as it is built now."""
        if self._weights is None:
            return True
        kept, named = self._weights, trainer.model.named_tensors()
        return kept.keys() == named.keys() and all(  # a scalar is (1,) in older files
            kept[name].shape in (tensor.shape, tensor.shape or (1,)) for name, tensor in named.items()
        )

    def _better(self, trainer: Training, value: float, than: float | None) -> bool:
        if not math.isfinite(value) or than is None:
            return math.isfinite(value)
        got, best = (score(trainer, self.monitor, each, self.mode) for each in (value, than))
        return got - self.min_delta > best

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state(self, state, _KINDS)
        weights = state["weights"]
        if self.restore_best and weights is None and state["best_epoch"]:
            raise CheckpointError(
                "state: got an EarlyStopping's that kept no weights; allowed: that of one with restore_best=True"
            )
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        kept = None if weights is None or not self.restore_best else dict(weights)
        self._weights, self._resumed = kept, True
