"""Learning rates: what a range test found, and schedules over a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.optim.schedules import Schedule, rate_at, unit_of
from fastconv.plot.axes import COLOURS, draw_legend, legend_label, line_style, new_axes, plain_names
from fastconv.plot.checking import function, has, listed, need_finite, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _RangeTested(Protocol):
    """What of a `fastconv.training.RangeTest` is drawn."""

    @property
    def rates(self) -> Sequence[float]: ...
    @property
    def losses(self) -> Sequence[float]: ...
    @property
    def smoothed(self) -> Sequence[float]: ...
    @property
    def suggestion(self) -> tuple[float, float] | None: ...


@plain_names
def learning_rate_finder(result: _RangeTested, ax: Axes | None = None) -> Axes:
    """Draw the losses of a range test over its rates, and the two rates that it suggests.

    What is far above the first losses, where it diverged, is cut off.

    Parameters
    ----------
    result : RangeTest
        Of `fastconv.training.find_learning_rate`.
    ax : matplotlib Axes or None
        None makes a figure.

    Returns
    -------
    Axes
        With the losses over a logarithmic axis of rates.

    Examples
    --------
    >>> rates, losses = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), (2.0, 1.9, 1.0, 0.5, 3.0)
    >>> ax = fc.plot.learning_rate_finder(fc.training.RangeTest(rates, losses, losses, diverged=False))
    >>> ax.get_xscale()
    'log'
    """
    allowed = "what find_learning_rate returns"
    parts = ("rates", "losses", "smoothed")
    if not listed(has(result, "result", parts, allowed).rates, "rates of result", allowed):
        raise ArgumentError(f"result: got no rates; allowed: {allowed}")
    rates, losses, smoothed = (numbers(getattr(result, part), f"{part} of result") for part in parts)
    if not len(rates) == len(losses) == len(smoothed):
        raise ArgumentError(f"result: got {len(losses)} losses for {len(rates)} rates; allowed: one for each")
    need_finite((losses, smoothed), "losses of result")
    ax = new_axes(ax)
    ax.plot(
        rates, losses, **line_style(4, len(rates)) | {"linestyle": "solid", "marker": ""}, linewidth=0.8, label="loss"
    )
    ax.plot(rates, smoothed, **line_style(0, len(rates)), linewidth=2, label="smoothed")
    if result.suggestion is not None:
        for number, name, rate in zip((1, 2), ("steepest", "minimum / 10"), result.suggestion, strict=True):
            dashes = ("dashed", "dotted")[number - 1]
            ax.axvline(rate, color=COLOURS[number], linestyle=dashes, label=f"{name}: {rate:.2g}")
        least = np.nanmin(smoothed)
        fall = np.nanmax(smoothed[: int(np.nanargmin(smoothed))]) - least
        if math.isfinite(fall):
            ax.set_ylim(least - fall / 2, least + 2 * fall)
    ax.set_xscale("log")
    ax.set_xlabel("learning rate (per step)")
    ax.set_ylabel("loss (mean of a batch)")
    draw_legend(ax, "medium")
    return ax


@plain_names
def schedules(
    schedules: Mapping[str, Schedule], steps: int, *, steps_per_epoch: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the rates of schedules over a run.

    Parameters
    ----------
    schedules : dict of str to schedule
        By the names that the legend shows.
    steps : int
        Length of the run.
    steps_per_epoch : int or None
        Needed where one goes by epoch.
    ax : matplotlib Axes or None
        None makes a figure.

    Returns
    -------
    Axes
        With a line for each schedule.

    Examples
    --------
    >>> ax = fc.plot.schedules({"cosine": fc.optim.schedules.Cosine(0.1, 100)}, 100)
    >>> len(ax.get_lines())
    1
    """
    steps = validate.at_least_one(steps, "steps")
    if not isinstance(schedules, Mapping) or not schedules:
        raise ArgumentError(
            f"schedules: got {validate.shown(schedules)}; allowed: a dict of names and schedules, not empty"
        )
    for name, schedule in schedules.items():
        function(schedule, f"schedules[{name!r}]", "a schedule, such as Constant(0.1)")
    by_epoch = [name for name, schedule in schedules.items() if unit_of(schedule) == "epoch"]
    if steps_per_epoch is not None:
        validate.at_least_one(steps_per_epoch, "steps_per_epoch")
    elif by_epoch:
        raise ArgumentError(f"steps_per_epoch: got None with {by_epoch[0]!r}, which goes by epoch; allowed: an int")
    rates = {
        name: numbers(
            [rate_at(schedule, step, step // (steps_per_epoch or steps)) for step in range(steps)],
            f"rates of schedules[{name!r}]",
        )
        for name, schedule in schedules.items()
    }
    ax = new_axes(ax)
    for number, (name, schedule) in enumerate(schedules.items()):
        drawn = "steps-post" if name in by_epoch else "default"
        label = legend_label(name, f"(by {unit_of(schedule)})")
        ax.plot(range(steps), rates[name], **line_style(number, steps), drawstyle=drawn, label=label)
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate (per step)")
    draw_legend(ax, "medium")
    return ax
