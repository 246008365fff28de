"""A rate that falls when training gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from fastconv import _validate as validate
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.optim.schedules.schedule import NumberedSchedule

Mode = Literal["auto", "min", "max"]
"""Which of two results is the better one; "auto" tells by the name of what is measured."""


def counted(name: str, logs: Mapping[str, float]) -> float:
    """Return a quantity of an epoch; NaN where its loss is not finite, where an accuracy says nothing.

    Classes that are told from predictions that are NaN are all the first one.
    """
    loss = logs.get("val_loss" if name.startswith("val_") else "loss", 0.0)
    return float(logs[name]) if math.isfinite(loss) or name.endswith("loss") else math.nan


class _State(NamedTuple):
    """All that changes; replaced as one, so that an interrupt finds the old or the new."""

    lr: float
    best: float | None = None
    bad_epochs: int = 0
    cooldown: int = 0


@dataclass(repr=False, eq=False)
class ReduceOnPlateau(NumberedSchedule):
    """``rate * factor`` after more than `patience` epochs without a better result: PyTorch's ReduceLROnPlateau.

    Keras' ReduceLROnPlateau of patience p and cooldown c is this with ``patience=p - 1``, ``cooldown=c - 1`` (neither
    below 0) and ``threshold_mode="abs"``.

    Parameters
    ----------
    lr : float
        The first rate.
    monitor : str or None
        The quantity of the history that is watched; by default "val_loss" where there is validation, else "loss".
        What is not finite is never better, nor is an accuracy whose loss is not.
    mode : "auto", "min" or "max"
        Whether less or more is better; "auto" knows it of losses and accuracies.
    factor : float
        Of the rate, at least 0, below 1.
    patience : int
        How many epochs without a better result are let pass.
    threshold : float
        By how much a result must be better than the best to count, as a share of that, or as it is.
    threshold_mode : "rel" or "abs"
        Whether `threshold` is a share of the best.
    cooldown : int
        How many epochs after a reduction are not counted as bad.
    min_lr : float
        It does not fall below this.
    eps : float
        A change that is not larger is left out.
    by : "epoch"
        What is counted; results come by epoch.

    Examples
    --------
    >>> schedule = fc.optim.schedules.ReduceOnPlateau(0.1, "loss", patience=1)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     schedule.observe({"loss": loss})
    >>> round(schedule(3), 4)
    0.01
    """

    lr: float
    monitor: str | None = None
    mode: str = "auto"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8
    by: str = field(default="epoch", kw_only=True)
    _state: _State = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        validate.one_of(self.by, "by", ("epoch",))
        self.take_number("lr", low=0)
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise ArgumentError(f"monitor: got {self.monitor!r}; allowed: a name of the history, or None")
        validate.one_of(self.mode, "mode", get_args(Mode))
        self.take_number("factor", low=0, high=1)
        self.take_count("patience", 0)
        self.take_number("threshold", low=0)
        validate.one_of(self.threshold_mode, "threshold_mode", ("rel", "abs"))
        self.take_count("cooldown", 0)
        self.take_number("min_lr", low=0)
        self.take_number("eps", low=0)
        if self.mode == "auto" and self.monitor is not None:
            self._rises(self.monitor)
        vars(self)["_state"] = _State(self.lr)

    def __call__(self, step: int) -> float:
        """Return the present rate, whatever `step` is."""
        return self._state.lr

    def observe(self, logs: Mapping[str, float]) -> None:
        """Take the results of an epoch, and lower the rate if it is time to.

        Parameters
        ----------
        logs : mapping of str to float
            The entry of the epoch in the history.
        """
        name = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if name not in logs:
            raise ArgumentError(f"monitor: got {name!r}; allowed: what this training records, {', '.join(logs)}")
        value, old = counted(name, logs), self._state
        lr, best, bad, cooldown = old.lr, old.best, old.bad_epochs, old.cooldown
        if self._is_better(value, best, rises=self._rises(name)):
            best, bad = value, 0
        else:
            bad += 1
        if cooldown:
            cooldown, bad = cooldown - 1, 0
        if bad > self.patience:
            lower = max(lr * self.factor, self.min_lr)
            lr = lower if lr - lower > self.eps else lr
            cooldown, bad = self.cooldown, 0
        vars(self)["_state"] = _State(lr, best, bad, cooldown)

    def state_dict(self) -> dict[str, Any]:
        """Return the rate and what it counts.

        Returns
        -------
        dict
            ``{"lr", "best", "bad_epochs", "cooldown"}``; best is None before the first epoch.
        """
        return self._state._asdict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave.

        Parameters
        ----------
        state : mapping
            With the entries that `state_dict` gives.

        Raises
        ------
        CheckpointError
            It is something else; nothing is changed.
        """
        try:
            best = state["best"]
            loaded = _State(
                validate.number(state["lr"], "lr", low=0),
                None if best is None else float(best),
                validate.at_least(state["bad_epochs"], 0, "bad_epochs"),
                validate.at_least(state["cooldown"], 0, "cooldown"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"state: got {state!r:.100} ({error}); allowed: that of a ReduceOnPlateau") from error
        vars(self)["_state"] = loaded

    def _rises(self, name: str) -> bool:
        """Tell whether more is better."""
        if self.mode != "auto":
            return self.mode == "max"
        if not name.endswith(("loss", "accuracy")):
            raise ArgumentError(
                f"mode: got 'auto' with monitor={name!r}; allowed: 'min' or 'max' where it is no loss or accuracy"
            )
        return name.endswith("accuracy")

    def _is_better(self, value: float, best: float | None, *, rises: bool) -> bool:
        if best is None or not math.isfinite(best) or not math.isfinite(value):  # states of before have infinite ones
            return math.isfinite(value)
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1.0)
        return value > best + margin if rises else value < best - margin
