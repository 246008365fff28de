"""Schedules that were made for another run than this one."""

from __future__ import annotations

from collections.abc import Iterable

from fastconv import _validate as validate
from fastconv.optim.schedules.composed import PiecewiseLinear
from fastconv.optim.schedules.decays import Exponential, Step
from fastconv.optim.schedules.schedule import Schedule, unit_of

_NOTHING = 1e-6  # of the first rate


def misfit(schedule: Schedule | None, step: int, steps_per_epoch: int, epochs: int, *, epoch: int = 0) -> str:
    """Say why training for `epochs` more is not what a schedule was made for; "" if nothing is odd.

    It begins at `step`, in `epoch`. Elsewhere schedules count epochs: fed with those, one that counts steps ends in the
    first epochs.

    Parameters
    ----------
    schedule : schedule or None
        What is asked about.
    step : int
        The first one of the training.
    steps_per_epoch : int
        How many there are.
    epochs : int
        For how long.
    epoch : int
        The first one.

    Returns
    -------
    str
        A sentence, or "".

    Examples
    --------
    >>> schedule = fc.optim.schedules.Cosine(0.1, 100)
    >>> fc.optim.schedules.misfit(schedule, 0, steps_per_epoch=10, epochs=10)
    ''
    >>> fc.optim.schedules.misfit(schedule, 0, steps_per_epoch=400, epochs=10).partition("; ")[2]
    'schedules count steps, 400 in each epoch here: total_steps=4000'
    """
    if schedule is None:
        return ""
    by, advice = unit_of(schedule), f"schedules count steps, {steps_per_epoch} in each epoch here"
    stop = epoch + epochs if by == "epoch" else step + steps_per_epoch * epochs
    end, warm = getattr(schedule, "end", None), getattr(schedule, "warm", 0)
    if warm and warm >= stop:
        return (
            f"{schedule}, whose warm-up ends at {by} {warm}, where training ends at {by} {stop}; allowed: a warm-up"
            " that ends before, unless more calls of fit are to follow"
        )
    if end is not None and end < stop:
        wanted = f"total_steps={stop}" if hasattr(schedule, "total_steps") else f"an end at {by} {stop}"
        return (
            f"{schedule}, whose rate stays at its last value from {by} {end} on, before training ends"
            f" at {by} {stop}; {f'{advice}: ' if by == 'step' else 'allowed: '}{wanted}"
        )
    if by == "step" and epochs > 1 and steps_per_epoch > 1:
        return _counted_in_epochs(schedule, step, steps_per_epoch, epochs, advice)
    return ""


def check_monitor(schedule: Schedule | None, names: Iterable[str]) -> None:
    """Refuse a schedule that watches what is not among these names.

    Parameters
    ----------
    schedule : schedule or None
        Looked at if it is `Watching`.
    names : iterable of str
        The quantities that there are.

    Examples
    --------
    >>> schedule = fc.optim.schedules.ReduceOnPlateau(0.1, "val_loss")
    >>> fc.optim.schedules.check_monitor(schedule, ["loss", "val_loss"])
    >>> fc.optim.schedules.check_monitor(schedule, ["loss"])
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: monitor of ReduceOnPlateau: got 'val_loss'; allowed: 'loss' (nearest: 'loss')
    """
    monitor = getattr(schedule, "monitor", None)
    if monitor is not None:
        validate.one_of(monitor, f"monitor of {type(schedule).__name__}", names)


def _counted_in_epochs(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int, advice: str) -> str:
    """Say of settings in steps that they look as if they were meant in epochs; "" if they do not."""
    steps = steps_per_epoch * epochs
    what, last = _last_change(schedule)
    if step < last < max(steps_per_epoch, 2 * epochs + 1) and last * 5 < steps:
        within = "first" if last < steps_per_epoch else f"first {last // steps_per_epoch + 1}"
        return f"{schedule}, whose {what} are all within the {within} of {epochs} epochs; {advice}"
    for name in getattr(schedule, "periods", ()):
        length = getattr(schedule, name)
        if length is not None and length <= epochs and length * 5 < steps_per_epoch:
            return f"{schedule}, whose {name}={length} is over {steps // length} times in {epochs} epochs; {advice}"
    if isinstance(schedule, Exponential | Step) and schedule(step + steps // 2) < _NOTHING * schedule(step):
        return f"{schedule}, whose rate falls to {schedule(step + steps // 2):.1g} in half of the training; {advice}"
    return ""


def _last_change(schedule: Schedule) -> tuple[str, int]:
    """Return what tells when the rate falls for the last time, and that number; 0 where nothing does."""
    if isinstance(schedule, Step) and schedule.milestones:
        return "milestones", schedule.milestones[-1]
    if isinstance(schedule, PiecewiseLinear) and schedule.points[-1][1] < max(rate for _, rate in schedule.points):
        return "points", schedule.points[-1][0]  # else it is a warm-up, whose last rate stays
    return "", 0
