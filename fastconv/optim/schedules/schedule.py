"""What all schedules share: what they count, the words for wrong settings, and how they are asked."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

from fastconv import _validate as validate
from fastconv._attributes import Made
from fastconv.errors import ArgumentError

Schedule = Callable[[int], float]
"""What gives the learning rate of a number: of the step, or of the epoch where it has ``by = "epoch"``."""


@runtime_checkable
class Watching(Protocol):
    """A schedule whose rate depends on results, and so has a state, of plain JSON values.

    Examples
    --------
    >>> watching = fc.optim.schedules.Watching
    >>> isinstance(fc.optim.schedules.ReduceOnPlateau(0.1), watching)
    True
    >>> isinstance(fc.optim.schedules.Constant(0.1), watching)
    False
    """

    def observe(self, logs: Mapping[str, float]) -> None:
        """Take what an epoch came to.

        Parameters
        ----------
        logs : mapping of str to float
            The entry of the epoch in the history.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns
        -------
        dict
            Of plain JSON values.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a state, all or nothing.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.
        """
        ...


Unit = Literal["step", "epoch"]
"""What a schedule counts; what a time limit lets come to its end."""
# What other libraries call a setting, and its name here, in classes that have it.
_HABITS = {
    "gamma": "factor",
    "initial_learning_rate": "lr",
    "learning_rate": "lr",
    "T_max": "total_steps",
    "total_iters": "total_steps",
    "eta_min": "final_lr",
    "end_learning_rate": "final_lr",
    "decay_rate": "factor",
    "boundaries": "milestones",
    "first_decay_steps": "T_0",
    "t_mul": "T_mult",
    "pct_start": "peak",
    "div_factor": "start_factor",
    "final_div_factor": "final_factor",
    "anneal_strategy": "anneal",
    "min_delta": "threshold",
}
_FUNCTION = "nothing: a schedule is a function of the number of the step or epoch, given to fc.Trainer as schedule"
_EPOCHS = "total_steps=epochs * steps_per_epoch, or total_steps=epochs with by='epoch'"
_ABSENT = {
    "alpha": "final_lr, which is alpha times lr",
    "lr_lambda": "function, which gives the rate itself, not a factor of it",
    **dict.fromkeys(("epochs", "steps_per_epoch"), _EPOCHS),
    **dict.fromkeys(("optimizer", "last_epoch"), _FUNCTION),
}


@dataclass(repr=False, eq=False)
class NumberedSchedule(metaclass=Made):
    """Base of the schedules here: values that do not change, whose rate is a function of a number counted from 0.

    What ``dataclass(frozen=True)`` would make for each class is here once, which makes importing them quicker.

    Attributes
    ----------
    by : "step" or "epoch"
        What the number counts, and with it all settings in steps.
    """

    by: str = field(default="step", kw_only=True)

    periods: ClassVar[tuple[str, ...]] = ()
    """The settings that say how long something lasts."""
    argument_habits: ClassVar[Mapping[str, str]] = _HABITS
    absent: ClassVar[Mapping[str, str]] = _ABSENT

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in vars(cls):
            cls.__call__ = _checked(vars(cls)["__call__"])  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        validate.one_of(self.by, "by", get_args(Unit))
        vars(self)["_made"] = True  # already, as what follows writes by vars

    def __setattr__(self, name: str, value: Any) -> None:
        if "_made" in vars(self):
            raise dataclasses.FrozenInstanceError(f"{name}: got a new value; allowed: another {type(self).__name__}")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, item.name) for item in dataclasses.fields(self) if item.compare)

    def take_number(self, name: str, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False) -> None:
        """Check a setting as `validate.number` does, and keep what that returns.

        Parameters
        ----------
        name : str
            Of the attribute.
        low, high : float
            Between which it lies.
        open_low : bool
            Whether `low` itself is refused.
        """
        number = validate.number(getattr(self, name), name, low=low, high=high, open_low=open_low)
        vars(self)[name] = number

    def take_count(self, name: str, minimum: int, maximum: float = math.inf) -> None:
        """Check a setting as `validate.at_least` does, and keep what that returns.

        Parameters
        ----------
        name : str
            Of the attribute.
        minimum : int
            The least that it may be.
        maximum : float
            The most that it may be.
        """
        vars(self)[name] = validate.at_least(getattr(self, name), minimum, name, maximum)

    def take_flag(self, name: str) -> None:
        """Check that a setting is True or False.

        Parameters
        ----------
        name : str
            Of the attribute.
        """
        vars(self)[name] = validate.truth(getattr(self, name), name)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        items = sorted(dataclasses.fields(self), key=lambda item: item.name == "by")
        return f"{type(self).__name__}({', '.join(f'{i.name}={getattr(self, i.name)!r}' for i in items if i.repr)})"

    @property
    def end(self) -> int | None:
        """The number from which on the rate is meant to stay what it is; None if it was made for no number of steps."""
        return getattr(self, "total_steps", None)

    @property
    def warm(self) -> int:
        """The number at which the warm-up ends."""
        return 0


def _checked(rate: Callable[[Any, int], float]) -> Callable[[Any, int], float]:
    """Let a schedule refuse what is no number of a step or an epoch, and say which one is beyond what floats hold."""

    @functools.wraps(rate)
    def checked(self: NumberedSchedule, step: int) -> float:
        number = step if type(step) is int and step >= 0 else validate.at_least(step, 0, self.by)
        try:
            return rate(self, number)
        except OverflowError as error:
            raise ArgumentError(
                f"{self.by}: got {number!r:.40}, where the rate of {self!r:.200} is beyond all floats; allowed: a"
                " smaller one"
            ) from error

    return checked


def unit_of(schedule: Schedule) -> str:
    """Return what a schedule counts, "step" or "epoch".

    Parameters
    ----------
    schedule : schedule
        What is asked.

    Returns
    -------
    str
        "step" or "epoch".

    Examples
    --------
    >>> fc.optim.schedules.unit_of(fc.optim.schedules.ReduceOnPlateau(0.1))
    'epoch'
    """
    by = getattr(schedule, "by", "step")
    unit: str = by if by in get_args(Unit) else validate.one_of(by, f"by of {schedule!r:.80}", get_args(Unit))
    return unit


def rate_at(schedule: Schedule, step: int, epoch: int) -> float:
    """Return the learning rate in this step of this epoch, both counted from 0; ArgumentError if it is none.

    Parameters
    ----------
    schedule : schedule
        What is asked.
    step, epoch : int
        Counted from 0.

    Returns
    -------
    float
        The learning rate.

    Examples
    --------
    >>> fc.optim.schedules.rate_at(fc.optim.schedules.Step(0.1, (2,), by="epoch"), step=900, epoch=2)
    0.010000000000000002
    """
    by = unit_of(schedule)
    number = epoch if by == "epoch" else step
    value = schedule(number)
    if type(value) is float and 0 <= value < math.inf:  # as nearly always, and this is asked before each step
        return value
    try:
        return validate.number(value, "schedule", low=0)
    except ArgumentError as error:
        raise ArgumentError(f"{error}, as the rate of {by} {number} (of {schedule!r:.200})") from None


def odd_arguments(function: Callable[..., Any]) -> str:
    """Say what a function takes where that is not one number; "" where it is, or where it is not known."""
    try:
        taken = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of some functions written in C
        return ""
    needed = [each.name for each in taken if each.default is each.empty and not each.kind.name.startswith("VAR_")]
    if not any(each.kind.name != "KEYWORD_ONLY" and each.kind.name != "VAR_KEYWORD" for each in taken):
        return "a function of nothing"
    alone = len(needed) < 2 and not any(each.name in needed and each.kind.name == "KEYWORD_ONLY" for each in taken)
    return "" if alone else f"a function of {', '.join(needed)}"


def linear(begin: float, end: float, t: float) -> float:
    """Return the value at `t` of a line from `begin` at 0 to `end` at 1."""
    return begin + (end - begin) * t
