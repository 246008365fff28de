"""Rates along half a cosine, once or again and again (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fastconv.optim.schedules.schedule import NumberedSchedule


@dataclass(repr=False, eq=False)
class Cosine(NumberedSchedule):
    """Down from `lr` to `final_lr` along half a cosine, after a linear warm-up.

    ``final_lr + (lr - final_lr) * (1 + cos(pi * t)) / 2`` with t from 0 to 1 between the end of the warm-up and
    `total_steps`, and `final_lr` from there on. In the warm-up ``lr * (step + 1) / (warmup_steps + 1)``.

    Parameters
    ----------
    lr : float
        The highest rate.
    total_steps : int
        When it is at `final_lr`.
    warmup_steps : int
        How long it rises first.
    final_lr : float
        The last rate.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Cosine(0.1, 100)
    >>> [round(schedule(step), 4) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_count("total_steps", 1)
        self.take_count("warmup_steps", 0, self.total_steps - 1)
        self.take_number("final_lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / (self.warmup_steps + 1)
        t = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return half_cosine(self.lr, self.final_lr, t)


@dataclass(repr=False, eq=False)
class CosineWarmRestarts(NumberedSchedule):
    """Down from `lr` towards `final_lr` along half a cosine in `T_0` steps, and again from `lr` on.

    Each time takes `T_mult` times as long as the one before. PyTorch's CosineAnnealingWarmRestarts.

    Parameters
    ----------
    lr : float
        The highest rate.
    T_0 : int
        Length of the first time.
    T_mult : int
        How much longer each is than the one before.
    final_lr : float
        What each goes towards.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.CosineWarmRestarts(0.1, 10, 2)
    >>> [round(schedule(step), 4) for step in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """

    lr: float
    T_0: int
    T_mult: int = 1
    final_lr: float = 0.0
    periods: ClassVar[tuple[str, ...]] = ("T_0",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("lr", low=0)
        self.take_count("T_0", 1)
        self.take_count("T_mult", 1)
        self.take_number("final_lr", low=0)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        period = self.T_0
        if self.T_mult == 1:
            step %= period
        while step >= period:
            step, period = step - period, period * self.T_mult
        return half_cosine(self.lr, self.final_lr, step / period)


def half_cosine(begin: float, end: float, t: float) -> float:
    """Return the value at `t` of half a cosine from `begin` at 0 to `end` at 1."""
    return end + (begin - end) * (1 + math.cos(math.pi * t)) / 2
