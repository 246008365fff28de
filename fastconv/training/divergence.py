"""The end of a training whose loss is no longer finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextvars import ContextVar

from fastconv._within import holding
from fastconv.errors import DivergenceError
from fastconv.training.callbacks import Callback, Training

_asking: ContextVar[bool] = ContextVar("asking", default=False)


def is_asking() -> bool:
    """Tell whether callbacks are being asked what there is to say: no step follows then."""
    return _asking.get()


def check_finite(
    trainer: Training, callbacks: Iterable[Callback], value: float, where: str, name: str = "loss"
) -> None:
    """Raise DivergenceError, with what callbacks have to say of it, if the loss, or what `name` says, is not finite."""
    if not math.isfinite(value):
        with holding(_asking, True):
            found = [text for callback in callbacks if (text := callback.on_divergence(trainer))]
        message = (
            f"{name}: got {value} in {where}epoch {trainer.epoch + 1}, before step {trainer.step + 1}, at a learning"
            f" rate of {trainer.optimizer.lr:g}; allowed: a finite one (a lower learning rate may help)"
        )
        raise DivergenceError("; ".join([message, *found]))
