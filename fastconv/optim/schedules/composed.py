"""Schedules made of others: a warm-up in front of one, lines between points, any function."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.optim.schedules.schedule import NumberedSchedule, Schedule, Watching, linear, odd_arguments, unit_of


@dataclass(repr=False, eq=False)
class Warmup(NumberedSchedule):
    """Along a line up to the first rate of `schedule`, which begins at `warmup_steps` with its own step 0.

    ``schedule(0) * (s + (1 - s) * step / warmup_steps)`` with ``s = start_factor``, PyTorch's LinearLR in front of it;
    by default ``1 / (warmup_steps + 1)``, so that no step has a rate of 0. Counts what `schedule` counts.

    Parameters
    ----------
    schedule : schedule
        What follows.
    warmup_steps : int
        How long the line is.
    start_factor : float or None
        Of the first rate.
    by : str
        That of `schedule`.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Warmup(fc.optim.schedules.Constant(0.1), 10, 0.0)
    >>> [round(schedule(step), 4) for step in (0, 5, 10, 20)]
    [0.0, 0.05, 0.1, 0.1]
    """

    schedule: Schedule
    warmup_steps: int
    start_factor: float | None = None
    by: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.schedule, type) or not callable(self.schedule):
            raise ArgumentError(
                f"schedule: got {self.schedule!r}; allowed: a schedule, such as Cosine(0.1, total_steps)"
            )
        unit = unit_of(self.schedule)
        self.by = self.by or unit
        super().__post_init__()
        if self.by != unit:
            raise ArgumentError(f"by: got {self.by!r} before {self.schedule!r}; allowed: {unit!r}, as that one counts")
        self.take_count("warmup_steps", 1)
        if self.start_factor is not None:
            self.take_number("start_factor", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        if step >= self.warmup_steps:
            return self.schedule(step - self.warmup_steps)
        low = 1 / (self.warmup_steps + 1) if self.start_factor is None else self.start_factor
        return self.schedule(0) * linear(low, 1.0, step / self.warmup_steps)

    @property
    def end(self) -> int | None:
        """The number from which on the rate is meant to stay what it is; None if it was made for no number of steps."""
        end = getattr(self.schedule, "end", None)
        return None if end is None else end + self.warmup_steps

    @property
    def warm(self) -> int:
        """The number at which the warm-up ends."""
        return self.warmup_steps + int(getattr(self.schedule, "warm", 0))

    @property
    def monitor(self) -> str | None:
        """What the schedule within it watches, if it does."""
        return getattr(self.schedule, "monitor", None)

    def observe(self, logs: Mapping[str, float]) -> None:
        """Hand the results of an epoch on.

        Parameters
        ----------
        logs : mapping of str to float
            The entry of the epoch in the history.
        """
        if isinstance(self.schedule, Watching):
            self.schedule.observe(logs)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule within it.

        Returns
        -------
        dict
            Of plain JSON values; {} if that has none.
        """
        return self.schedule.state_dict() if isinstance(self.schedule, Watching) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave.

        Parameters
        ----------
        state : mapping
            That of the schedule within it.
        """
        if isinstance(self.schedule, Watching):
            self.schedule.load_state_dict(state)


@dataclass(repr=False, eq=False)
class PiecewiseLinear(NumberedSchedule):
    """Along lines from point to point, and constant before the first and after the last.

    Parameters
    ----------
    points : tuple of (step, rate)
        By rising steps: ``PiecewiseLinear(((0, 0.1), (1000, 0)))`` falls to 0 within 1000 steps.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.PiecewiseLinear(((0, 0.0), (10, 0.1), (30, 0.0)))
    >>> [round(schedule(step), 4) for step in (0, 5, 10, 20, 40)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        advice = "allowed: pairs of a step and a rate, by rising steps, such as ((0, 0.1), (1000, 0))"
        try:
            points = tuple((step, rate) for step, rate in self.points)
        except (TypeError, ValueError):
            raise ArgumentError(f"points: got {self.points!r}; {advice}") from None
        steps = [validate.at_least(step, 0, f"step of points[{i}]") for i, (step, _) in enumerate(points)]
        rates = [validate.number(rate, f"rate of points[{i}]", low=0) for i, (_, rate) in enumerate(points)]
        if not points or steps != sorted(set(steps)):
            raise ArgumentError(f"points: got {self.points!r}; {advice}")
        vars(self)["points"] = tuple(zip(steps, rates, strict=True))

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        place = bisect.bisect_right(self.points, step, key=lambda point: point[0])
        if place in (0, len(self.points)):
            return self.points[max(place - 1, 0)][1]
        (begin, before), (end, after) = self.points[place - 1 : place + 1]
        return linear(before, after, (step - begin) / (end - begin))


@dataclass(repr=False, eq=False)
class Function(NumberedSchedule):
    """``function(number)``, of steps or of epochs: ``Function(lambda epoch: 0.1 * 0.95**epoch, by="epoch")``.

    Parameters
    ----------
    function : function of a number
        Gives the rate.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Function(lambda epoch: 0.1 * 0.5**epoch, by="epoch")
    >>> [schedule(epoch) for epoch in (0, 1, 2)]
    [0.1, 0.05, 0.025]
    """

    function: Schedule

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.function, type) or not callable(self.function):
            raise ArgumentError(f"function: got {self.function!r}; allowed: a function of one number")
        if odd := odd_arguments(self.function):
            raise ArgumentError(f"function: got {odd}; allowed: a function of one number")

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.function(step)
