"""Where a trainer's schedule meets the run: before it, and after each epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping

from fastconv.optim.schedules import Schedule, Watching, check_monitor, misfit
from fastconv.training.callbacks import Training


def compare(schedule: Schedule | None, trainer: Training, *, stacklevel: int) -> None:
    """Refuse a schedule that the present `fit` cannot follow, and warn of one that was made for another."""
    check_monitor(schedule, trainer.quantities)
    epochs = trainer.last_epoch - trainer.epoch
    begun = trainer.step - (0 if trainer.position is None else trainer.position["done"])  # at the epoch's begin
    text = misfit(schedule, begun, trainer.steps_per_epoch, epochs, epoch=trainer.epoch)
    if text:
        warnings.warn(f"schedule: got {text}", stacklevel=stacklevel + 1)


def show_results(schedules: Iterable[object], logs: Mapping[str, float]) -> Callable[[], None]:
    """Show schedules what an epoch came to; return what takes that back. If it fails, none has changed."""
    found = [schedule for schedule in schedules if isinstance(schedule, Watching)]
    before = [schedule.state_dict() for schedule in found]

    def undo() -> None:
        for schedule, state in zip(found, before, strict=True):
            schedule.load_state_dict(state)

    try:
        for schedule in found:
            schedule.observe(logs)
    except BaseException:
        undo()
        raise
    return undo


def record(trainer: Training, logs: dict[str, float]) -> None:
    """Count an epoch, append it to the history and show it to the schedules: all or nothing."""
    undo = show_results([trainer.schedule, *(group.schedule for group in trainer.optimizer.groups)], logs)
    epoch, history = trainer.epoch, {name: list(values) for name, values in trainer.history.history.items()}
    try:
        trainer.history.append(logs)
        trainer.epoch = epoch + 1
    except BaseException:
        trainer.history.history, trainer.epoch = history, epoch
        undo()
        raise
