"""How much an update changes each parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.training.callbacks import Callback, StepInfo, Training
from fastconv.training.callbacks.callback import check_state, reading_state
from fastconv.training.diagnostics.found import Found
from fastconv.training.diagnostics.tables import table


@dataclass(frozen=True)
class UpdateRatios(Found):
    """``norm(change) / norm(values before)`` of each parameter, in one update.

    Around 1e-3 is usual; much more, and the learning rate is too high, much less, and hardly anything is learned
    (https://cs231n.github.io/neural-networks-3/#ratio).

    Parameters
    ----------
    step : int
        The update's, counted from 1.
    ratios : mapping of str to float
        By the parameters' names; NaN where a parameter was zero before.

    Examples
    --------
    >>> before, after = {"weight": np.array([3.0, 4.0])}, {"weight": np.array([3.0, 4.005])}
    >>> ratios = fc.training.diagnostics.update_ratios(before, after)
    >>> ratios.step, {name: round(value, 4) for name, value in ratios.ratios.items()}
    (1, {'weight': 0.001})
    """

    step: int
    ratios: Mapping[str, float]

    def __str__(self) -> str:
        rows = [(name, f"{ratio:.2e}") for name, ratio in self.ratios.items()]
        return table(("parameter", "update / weight"), rows, head=f"step {self.step}", left=1)


def update_ratios(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], step: int = 1) -> UpdateRatios:
    """Compare the values of parameters before and after an update, both by name.

    Parameters
    ----------
    before, after : mapping of str to numpy.ndarray
        Values by the parameters' names.
    step : int
        The update's, counted from 1.

    Returns
    -------
    UpdateRatios
        A ratio for each parameter.

    Raises
    ------
    ArgumentError, ShapeError
        The two have not the same names, or values of other shapes.

    Examples
    --------
    >>> before, after = {"weight": np.array([3.0, 4.0])}, {"weight": np.array([3.0, 4.005])}
    >>> round(fc.training.diagnostics.update_ratios(before, after).ratios["weight"], 4)
    0.001
    """
    for values, name in ((before, "before"), (after, "after")):
        if not isinstance(values, Mapping):
            raise ArgumentError(f"{name}: got {type(values).__name__}; allowed: a mapping from names to arrays")
    if before.keys() != after.keys():
        got, allowed = (", ".join(map(str, values)) or "none" for values in (after, before))
        raise ArgumentError(f"after: got the names {got}; allowed: those of before, {allowed}")
    found = {}
    for name, old in before.items():
        validate.has_shape(np.asarray(after[name]), f"after[{name!r}]", np.shape(old), "as before the update")
        norm = float(np.linalg.norm(np.asarray(old, np.float64)))
        change = float(np.linalg.norm(np.asarray(after[name], np.float64) - old))
        found[name] = change / norm if norm else math.nan
    return UpdateRatios(step, found)


class UpdateRatio(Callback):
    """Measures how much an update changes each parameter, after every so many steps.

    ``print(ratio.records[-1])`` is a table of them, and `fastconv.plot.update_ratios` draws all; nothing is shown while
    the model trains.

    Parameters
    ----------
    every_steps : int
        These steps copy the parameters to the host, before and after; the others cost nothing. Captured steps stay
        captured.

    Attributes
    ----------
    records : list of UpdateRatios

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, ratio = fc.optim.SGD(model.parameters(), 0.1), fc.training.diagnostics.UpdateRatio(every_steps=1)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=ratio)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
    >>> len(ratio.records), sorted(ratio.records[0].ratios)
    (2, ['0.bias', '0.weight'])
    """

    def __init__(self, every_steps: int = 100) -> None:
        self.every_steps = validate.at_least_one(every_steps, "every_steps")
        self.records: list[UpdateRatios] = []
        self._before: dict[str, np.ndarray] | None = None

    def __repr__(self) -> str:
        return f"UpdateRatio({self.every_steps})"

    def on_train_begin(self, trainer: Training) -> None:
        self._before = None
        if not trainer.step:
            self.records = []

    def on_step_begin(self, trainer: Training, x: Array, y: Array) -> None:
        self._before = _values(trainer) if (trainer.step + 1) % self.every_steps == 0 else None

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self._before is not None:
            self.records.append(update_ratios(self._before, _values(trainer), trainer.step))
            self._before = None

    def state_dict(self) -> dict[str, Any]:
        return {"records": [record.to_dict() for record in self.records]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state(self, state, {"records": list})
        with reading_state(self):
            self.records = [UpdateRatios(record["step"], dict(record["ratios"])) for record in state["records"]]


def _values(trainer: Training) -> dict[str, np.ndarray]:
    backend = trainer.model.backend
    return {parameter.name: np.array(backend.to_numpy(parameter.array)) for parameter in trainer.optimizer.parameters}
