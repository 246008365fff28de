"""The quantity of the history that a callback watches, and which of two values of it is better."""

from __future__ import annotations

from collections.abc import Iterable

from fastconv._nearest import nearest
from fastconv.errors import ArgumentError
from fastconv.optim.schedules.plateau import Mode
from fastconv.training.callbacks.callback import Training


def check_monitor(monitor: str | None, names: Iterable[str]) -> None:
    """Refuse a quantity that is not among `names`; None is any."""
    names = list(names)
    if monitor is not None and monitor not in names:
        raise ArgumentError(
            f"monitor: got {monitor!r}; allowed: what this training records, {', '.join(names)}"
            + nearest(monitor, names, 0)
        )


def score(trainer: Training, name: str, value: float, mode: Mode = "auto") -> float:
    """Return a number of the history as one that is the larger the better."""
    if mode != "auto":
        return value if mode == "max" else -value
    plain = name.removeprefix("val_")
    for metric in trainer.metrics or ():
        if metric.name in (plain, plain.rpartition("_")[0]):
            return metric.score(value)
    return value if plain in ("accuracy", "images_per_second") else -value
