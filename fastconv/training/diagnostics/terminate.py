"""A training whose loss is no longer finite ends with the name of the layer where that began."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

from fastconv.backends.contract.types import Array
from fastconv.nn.core.undo import Snapshot, arenas_of, touch_all
from fastconv.training.callbacks import Callback, StepInfo, Training
from fastconv.training.diagnostics.non_finite import NonFinite, find_non_finite
from fastconv.training.divergence import check_finite


@dataclass(frozen=True)
class _Before:
    """What a step was begun with."""

    step: int
    values: Snapshot
    x: Array
    y: Array


class TerminateOnNaN(Callback):
    """Says which layer's output or gradient was the first that is not finite, when the loss no longer is.

    `Trainer.fit` ends with DivergenceError there in any case; with this its message names the layer. For that
    parameters, running statistics and the batch are copied before each step, so that it, and the one before it, can be
    computed again layer by layer, without fusions. A step that is captured stays captured. On a device this looks at
    the loss after each step, which waits for it, so that the training ends there and not after the epoch.

    Attributes
    ----------
    finding : NonFinite or None
        What the message said.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> told = fc.training.diagnostics.TerminateOnNaN()
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=told)
    >>> try:
    ...     trainer.fit((np.array([[np.inf]], np.float32), np.ones((1, 1), np.float32)), 1)
    ... except fc.errors.DivergenceError:
    ...     print(told.finding)
    the input (0 NaN and 1 infinite of 1)
    """

    def __init__(self) -> None:
        self.finding: NonFinite | None = None
        self._kept: deque[_Before] = deque(maxlen=2)

    def __repr__(self) -> str:
        return "TerminateOnNaN()"

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the steps that are kept."""
        return {**vars(self), "_kept": deque(maxlen=2)}

    def on_train_begin(self, trainer: Training) -> None:
        self.finding = None
        self._kept.clear()

    def on_step_begin(self, trainer: Training, x: Array, y: Array) -> None:
        backend = trainer.model.backend
        x, y = (Snapshot(backend, [array]).values()[0] for array in (x, y))
        self._kept.append(_Before(trainer.step, Snapshot(backend, arenas_of(trainer.model.tensors())), x, y))

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if not trainer.model.backend.on_host:
            check_finite(trainer, (self,), float(info.loss), f"batch {info.batch} of ")

    def on_divergence(self, trainer: Training) -> str:
        begun = None
        for before in self._kept:
            found = self._find(trainer, before)
            if found is not None and (found.what != "parameter" or begun is None):
                self.finding = found
                when = "before" if found.what == "parameter" else "in"
                return f"the first that is not finite was {found}, {when} step {before.step + 1}"
            if found is not None:
                self.finding = found
                return f"the first that is not finite was {found}, after the update of step {begun}"
            begun = before.step + 1
        return "computed once more, layer by layer, all of that step was finite"

    def on_train_end(self, trainer: Training) -> None:
        self._kept.clear()

    def _find(self, trainer: Training, before: _Before) -> NonFinite | None:
        """Compute a step again, on a copy of the model as it was before."""
        tensors = trainer.model.tensors()
        now = Snapshot(trainer.model.backend, arenas_of(tensors))
        try:
            before.values.put_back()
            touch_all(tensors)
            model = copy.deepcopy(trainer.model)
        finally:
            now.put_back()
            touch_all(tensors)
        return find_non_finite(model, trainer.loss, before.x, before.y, seed=trainer.seed, step=before.step)
