"""Units that never fire, over the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.training.callbacks import Callback, StepInfo, Training
from fastconv.training.callbacks.callback import check_state, reading_state
from fastconv.training.diagnostics.statistics import DeadUnitReport, DeadUnits, dead_units


class DeadUnitMonitor(Callback):
    """Counts the units that never fire, after every so many steps; `fastconv.plot.dead_units` draws the records.

    ``print(monitor.records[step])`` is a table of them; nothing is shown while the model trains.

    Parameters
    ----------
    every_steps : int
        At these steps a copy of the model computes the outputs of `data`; the others cost nothing. Captured steps stay
        captured.
    data : array, or sequence of (x, y) or of arrays x, or None
        Inputs, as of `dead_units`; None is the batch of the step, of which more units seem dead the smaller it is.

    Attributes
    ----------
    records : dict of int to DeadUnitReport
        By step, counted from 1.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Dense(8), fc.nn.ReLU(), fc.nn.Dense(2)).build((4,), seed=0)
    >>> monitor = fc.training.diagnostics.DeadUnitMonitor(every_steps=2)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=monitor)
    >>> _ = trainer.fit((np.ones((8, 4), np.float32), np.zeros(8, np.int32)), 2, batch_size=4)
    >>> list(monitor.records)
    [2, 4]
    """

    def __init__(self, every_steps: int = 100, data: Any = None) -> None:
        self.every_steps, self.data = validate.at_least_one(every_steps, "every_steps"), data
        self.records: dict[int, DeadUnitReport] = {}
        self._batch: Array | None = None

    def __repr__(self) -> str:
        return f"DeadUnitMonitor({self.every_steps})"

    def on_train_begin(self, trainer: Training) -> None:
        self._batch = None
        if not trainer.step:
            self.records = {}

    def on_step_begin(self, trainer: Training, x: Array, y: Array) -> None:
        self._batch = x if (trainer.step + 1) % self.every_steps == 0 else None

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self._batch is not None:
            data = self._batch if self.data is None else self.data
            self.records[trainer.step] = dead_units(trainer.model, data)
            self._batch = None

    def state_dict(self) -> dict[str, Any]:
        return {"records": [{"step": step, **report.to_dict()} for step, report in self.records.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state(self, state, {"records": list})
        with reading_state(self):
            self.records = {
                record["step"]: DeadUnitReport(
                    tuple(
                        DeadUnits(row["name"], row["kind"], row["units"], tuple(row["dead"])) for row in record["rows"]
                    ),
                    record["images"],
                )
                for record in state["records"]
            }
