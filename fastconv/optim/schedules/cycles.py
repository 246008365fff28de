"""Rates that rise and fall: the triangles of CLR, and one cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.optim.schedules.cosines import half_cosine
from fastconv.optim.schedules.schedule import NumberedSchedule, linear


@dataclass(repr=False, eq=False)
class Cyclic(NumberedSchedule):
    """Up from `base_lr` to `max_lr` and down again along lines, over and over: PyTorch's CyclicLR.

    (Smith, https://arxiv.org/abs/1506.01186)

    Parameters
    ----------
    base_lr, max_lr : float
        The lowest and the highest rate.
    step_size_up, step_size_down : int
        How many steps a rise and a fall take; a fall as many as a rise by default.
    mode : "triangular", "triangular2" or "exp_range"
        All peaks are alike, each is half as high above `base_lr` as the one before, or the height is multiplied by
        ``factor ** step``.
    factor : float
        Of "exp_range".
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.Cyclic(0.0, 0.1, 10)
    >>> [round(schedule(step), 4) for step in (0, 5, 10, 15, 20)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    base_lr: float
    max_lr: float
    step_size_up: int = 2000
    step_size_down: int | None = None
    mode: str = "triangular"
    factor: float = 1.0
    periods: ClassVar[tuple[str, ...]] = ("step_size_up",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("base_lr", low=0)
        self.take_number("max_lr", low=self.base_lr)
        self.take_count("step_size_up", 1)
        if self.step_size_down is not None:
            self.take_count("step_size_down", 1)
        validate.one_of(self.mode, "mode", ("triangular", "triangular2", "exp_range"))
        self.take_number("factor", low=0, open_low=True)

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        up, down = self.step_size_up, self.step_size_down or self.step_size_up
        cycle, place = divmod(step, up + down)
        height = (self.max_lr - self.base_lr) * (place / up if place <= up else (up + down - place) / down)
        if self.mode == "triangular2":
            height /= 2.0**cycle
        elif self.mode == "exp_range":
            height *= self.factor**step
        return self.base_lr + height


@dataclass(repr=False, eq=False)
class OneCycle(NumberedSchedule):
    """Up to `max_lr` and down to almost nothing, along half a cosine each; the rates of PyTorch's OneCycleLR.

    From ``max_lr / start_factor`` at step 0 to `max_lr` after the share `peak` of the steps, to
    ``max_lr / start_factor / final_factor`` at the last step, ``total_steps - 1``, and on. (Smith and Topin,
    https://arxiv.org/abs/1708.07120) PyTorch calls `peak` pct_start, `start_factor` div_factor, `final_factor`
    final_div_factor and `anneal` anneal_strategy.

    Parameters
    ----------
    max_lr : float
        The highest rate.
    total_steps : int
        Length of the run.
    peak : float
        Share of the run after which it is reached.
    start_factor, final_factor : float
        How many times smaller the first rate is than the highest, and the last than the first.
    anneal : "cos" or "linear"
        Half a cosine or a line between these.
    three_phase : bool
        First down to where it began, in as many steps as the rise took, and from there to the last rate.
    by : "step" or "epoch"
        What is counted.

    Examples
    --------
    >>> schedule = fc.optim.schedules.OneCycle(0.1, 101)
    >>> [round(schedule(step), 6) for step in (0, 30, 100)]
    [0.004, 0.099976, 0.0]
    """

    max_lr: float
    total_steps: int
    peak: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4
    anneal: str = "cos"
    three_phase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take_number("max_lr", low=0)
        self.take_count("total_steps", 1)
        self.take_number("peak", low=0, high=1)
        self.take_number("start_factor", low=0, open_low=True)
        self.take_number("final_factor", low=0, open_low=True)
        validate.one_of(self.anneal, "anneal", ("cos", "linear"))
        self.take_flag("three_phase")
        if self.three_phase and self.peak > 0.5:
            raise ArgumentError(
                f"peak: got {self.peak!r} with three_phase=True; allowed: at most 0.5, a fall being as long as a rise"
            )

    def __call__(self, step: int) -> float:
        """Return the rate of `step`."""
        top = self.peak * self.total_steps - 1
        start = self.max_lr / self.start_factor
        between = half_cosine if self.anneal == "cos" else linear
        if step < top:
            return between(start, self.max_lr, step / top)
        begin, first = self.max_lr, top
        if self.three_phase:
            back = 2 * top
            if step < back:
                return between(self.max_lr, start, (step - top) / (back - top))
            begin, first = start, back
        last = self.total_steps - 1
        t = min((step - first) / (last - first), 1.0) if last > first else 1.0
        return between(begin, start / self.final_factor, t)
