"""Rates that only fall: constant, 1/t, in steps, exponential, polynomial."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.optim.schedules.schedule import NumberedSchedule


@dataclass(repr=False, eq=False)
class Constant(NumberedSchedule):
    """``lr``, always.

    Parameters
    ----------
    lr : float
        The rate.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> fc.optim.schedules.Constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.lr


@dataclass(repr=False, eq=False)
class InverseTime(NumberedSchedule):
    """``lr / (1 + decay_rate * step / decay_steps)``: time-based decay, Keras' InverseTimeDecay.

    With `staircase` the quotient ``step / decay_steps`` is rounded down.

    Parameters
    ----------
    lr : float
        The first rate.
    decay_rate : float
        How fast it falls.
    decay_steps : int
        In how many steps.
    staircase : bool
        Whether the quotient is rounded down.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.InverseTime(0.1, 1.0, 10)
    >>> [round(schedule(step), 4) for step in (0, 10, 30)]
    [0.1, 0.05, 0.025]
    """

    lr: float
    decay_rate: float
    decay_steps: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_number("decay_rate", low=0)
        self.take_count("decay_steps", 1)
        self.take_flag("staircase")

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.lr / (1 + self.decay_rate * _periods(step, self.decay_steps, self.staircase))


@dataclass(repr=False, eq=False)
class Step(NumberedSchedule):
    """``lr * factor ** (number of milestones reached)``: at `milestones`, or every `step_size` steps.

    PyTorch's MultiStepLR is ``Step(lr, (30, 80))``, its StepLR ``Step(lr, step_size=30)``.

    Parameters
    ----------
    lr : float
        The first rate.
    milestones : tuple of int, or None
        Steps from which on the rate is multiplied by `factor` once more; none before the one before it.
    factor : float
        Of the rate, at each of them.
    step_size : int or None
        The same at each multiple of it; given instead of `milestones`.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Step(0.1, (30, 80))
    >>> [round(schedule(step), 4) for step in (29, 30, 80)]
    [0.1, 0.01, 0.001]
    """

    lr: float
    milestones: tuple[int, ...] | None = None
    factor: float = 0.1
    step_size: int | None = None
    periods: ClassVar[tuple[str, ...]] = ("step_size",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_number("factor", low=0)
        if (self.milestones is None) == (self.step_size is None):
            given = "neither" if self.milestones is None else "both"
            raise ArgumentError(f"milestones: got {given} of milestones and step_size; allowed: one of them")
        if self.step_size is not None:
            self.take_count("step_size", 1)
        else:
            vars(self)["milestones"] = _checked_milestones(self.milestones)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        if self.milestones is None:
            return self.lr * float(self.factor ** _periods(step, self.step_size or 1, True))
        return self.lr * self.factor ** sum(step >= milestone for milestone in self.milestones)


@dataclass(repr=False, eq=False)
class Exponential(NumberedSchedule):
    """``lr * factor ** (step / decay_steps)``: PyTorch's ExponentialLR, Keras' ExponentialDecay.

    With `staircase` the exponent is rounded down. ``exp(-k * step)`` has the factor ``exp(-k)``.

    Parameters
    ----------
    lr : float
        The first rate.
    factor : float
        Of the rate, in `decay_steps`.
    decay_steps : int
        How long that takes.
    staircase : bool
        Whether it happens all at once.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Exponential(0.1, 0.5, 10)
    >>> [round(schedule(step), 4) for step in (0, 5, 10)]
    [0.1, 0.0707, 0.05]
    """

    lr: float
    factor: float
    decay_steps: int = 1
    staircase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_number("factor", low=0, open_low=True)
        self.take_count("decay_steps", 1)
        self.take_flag("staircase")

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.lr * float(self.factor ** _periods(step, self.decay_steps, self.staircase))


@dataclass(repr=False, eq=False)
class Polynomial(NumberedSchedule):
    """``final_lr + (lr - final_lr) * (1 - step / total_steps) ** power``, and `final_lr` from `total_steps` on.

    Parameters
    ----------
    lr : float
        The first rate.
    total_steps : int
        When it is at `final_lr`.
    power : float
        1 is a line.
    final_lr : float
        The last rate.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Polynomial(0.1, 100, power=2.0)
    >>> [round(schedule(step), 4) for step in (0, 50, 100)]
    [0.1, 0.025, 0.0]
    """

    lr: float
    total_steps: int
    power: float = 1.0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_count("total_steps", 1)
        self.take_number("power", low=0, open_low=True)
        self.take_number("final_lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        left = max(1 - step / self.total_steps, 0.0)
        return float(self.final_lr + (self.lr - self.final_lr) * left**self.power)


def _periods(step: int, period: int, whole: bool) -> float:
    """Return how many periods have gone by."""
    return step // period if whole else step / period


def _checked_milestones(given: object) -> tuple[int, ...]:
    """Return numbers of steps, none below the one before."""
    advice = "allowed: numbers of steps in a tuple, none below the one before, such as (1000, 2000)"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ArgumentError(f"milestones: got {given!r}; {advice}")
    numbers = tuple(validate.at_least(value, 0, f"milestones[{i}]") for i, value in enumerate(given))
    if list(numbers) != sorted(numbers):
        raise ArgumentError(f"milestones: got {numbers!r}; {advice}")
    return numbers
