"""Learning-rate schedules: pure functions of the number of the step, counted from 0.

So a run can be taken up again at any step. ``schedule(step)`` is the rate that the step with this number uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from fastconv import _validate as validate
from fastconv.errors import ArgumentError

Schedule = Callable[[int], float]


def misfit(schedule: Schedule | None, step: int, steps_per_epoch: int, epochs: int) -> str:
    """Say why training for `epochs` from `step` on is not what a schedule was made for; "" if nothing is odd.

    Elsewhere schedules count epochs. Fed with those, one ends in the first epochs.
    """
    steps, advice = steps_per_epoch * epochs, f"schedules count steps, {steps_per_epoch} in each epoch here"
    if isinstance(schedule, Cosine | OneCycle) and schedule.total_steps < step + steps:
        return (
            f"{schedule}, whose rate stays at its last value from step {schedule.total_steps} on, before training ends"
            f" at step {step + steps}; {advice}: total_steps={step + steps}"
        )
    if isinstance(schedule, Step) and epochs > 1 and steps_per_epoch > 1:
        last = max(schedule.milestones, default=steps)
        if last < steps_per_epoch or (last <= epochs and last * 5 < steps):
            within = "first" if last < steps_per_epoch else f"first {last // steps_per_epoch + 1}"
            return f"{schedule}, whose milestones are all within the {within} of {epochs} epochs; {advice}"
    return ""


@dataclass(frozen=True)
class Constant:
    """``lr``, always."""

    lr: float

    def __post_init__(self) -> None:
        validate.number(self.lr, "lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.lr


@dataclass(frozen=True)
class Step:
    """``lr * factor ** (number of milestones reached)``.

    Attributes
    ----------
    lr : float
    milestones : tuple of int
        Steps from which on the rate is multiplied by `factor` once more.
    factor : float
    """

    lr: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        validate.number(self.lr, "lr", low=0)
        try:
            milestones = tuple(self.milestones)
        except TypeError:
            raise ArgumentError(
                f"milestones: got {self.milestones!r}; allowed: numbers of steps in a tuple, such as (1000, 2000)"
            ) from None
        numbers = tuple(validate.at_least(value, 0, f"milestones[{i}]") for i, value in enumerate(milestones))
        object.__setattr__(self, "milestones", numbers)
        validate.number(self.factor, "factor", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        return self.lr * self.factor ** sum(step >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Cosine:
    """Down from `lr` to `final_lr` along half a cosine, after a linear warm-up.

    (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)
    ``final_lr + (lr - final_lr) * (1 + cos(pi * t)) / 2`` with t from 0 to 1 between the end of the warm-up and
    `total_steps`, and `final_lr` from there on. In the warm-up ``lr * (step + 1) / (warmup_steps + 1)``.
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        validate.number(self.lr, "lr", low=0)
        validate.at_least_one(self.total_steps, "total_steps")
        validate.at_least(self.warmup_steps, 0, "warmup_steps")
        validate.number(self.warmup_steps, "warmup_steps", low=0, high=self.total_steps)
        validate.number(self.final_lr, "final_lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1)
        t = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return _cosine(self.lr, self.final_lr, t)


@dataclass(frozen=True)
class OneCycle:
    """Up to `max_lr` and down to almost nothing, along half a cosine each; the rates of PyTorch's OneCycleLR.

    From ``max_lr / start_factor`` at step 0 to `max_lr` after the share `peak` of the steps, to
    ``max_lr / start_factor / final_factor`` at the last step, ``total_steps - 1``, and on. (Smith and Topin,
    https://arxiv.org/abs/1708.07120)
    """

    max_lr: float
    total_steps: int
    peak: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        validate.number(self.max_lr, "max_lr", low=0)
        validate.at_least_one(self.total_steps, "total_steps")
        validate.number(self.peak, "peak", low=0, high=1)
        validate.number(self.start_factor, "start_factor", low=0, open_low=True)
        validate.number(self.final_factor, "final_factor", low=0, open_low=True)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        last = self.total_steps - 1
        top = self.peak * self.total_steps - 1
        start = self.max_lr / self.start_factor
        if step < top:
            return _cosine(start, self.max_lr, step / top)
        t = min((step - top) / (last - top), 1.0) if last > top else 1.0
        return _cosine(self.max_lr, start / self.final_factor, t)


def _cosine(begin: float, end: float, t: float) -> float:
    """Return the value at `t` of half a cosine from `begin` at 0 to `end` at 1."""
    return end + (begin - end) * (1 + math.cos(math.pi * t)) / 2
