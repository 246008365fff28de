"""A training step as a trace that Perfetto and Chrome show: layers and kernels over time.

The format is that of https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, complete events:
open the file at https://ui.perfetto.dev, or at chrome://tracing.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from fastconv._files import write_atomically
from fastconv._within import holding
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.paths import paths_of
from fastconv.nn.fused.steps import FusedStep, Pass, watcher
from fastconv.training.diagnostics.found import Found
from fastconv.training.trainer import Trainer, checked_trainer

_Row = Literal["step", "layers", "kernels"]
_ROWS = {row: number for number, row in enumerate(get_args(_Row))}


@dataclass(frozen=True)
class Event:
    """One thing that took time.

    Attributes
    ----------
    name : str
        Layers with their direction, or a kernel.
    row : "step", "layers" or "kernels"
    begin_us, duration_us : float
        In microseconds from the beginning of the step.
    """

    name: str
    row: _Row
    begin_us: float
    duration_us: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as a complete event of the format."""
        where = {"pid": 1, "tid": _ROWS[self.row], "cat": self.row}
        return {"name": self.name, "ph": "X", "ts": self.begin_us, "dur": self.duration_us, **where}


@dataclass(frozen=True)
class ChromeTrace(Found):
    """What `trace_step` returns.

    Parameters
    ----------
    backend : str
        Which kernels ran.
    events : tuple of Event
        In order of their beginnings.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), 0.1))
    >>> one = np.ones((4, 1), np.float32)
    >>> trace = fc.training.diagnostics.trace_step(trainer, one, one)
    >>> trace.save("step.json")
    >>> "traceEvents" in trace.to_dict()
    True
    """

    backend: str
    events: tuple[Event, ...]

    def to_dict(self) -> dict[str, Any]:
        names = [("process_name", 0, f"fastconv, backend {self.backend}")]
        names += [("thread_name", number, row) for row, number in _ROWS.items()]
        heads = [{"name": kind, "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}} for kind, tid, name in names]
        return {"displayTimeUnit": "ms", "traceEvents": [*heads, *(event.to_dict() for event in self.events)]}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, all or nothing.

        Parameters
        ----------
        path : str or path
            The file, new or to be replaced.
        """
        write_atomically(path, json.dumps(self.to_dict()).encode())

    def __str__(self) -> str:
        counts = {row: sum(event.row == row for event in self.events) for row in _ROWS}
        total = sum(event.duration_us for event in self.events if event.row == "step")
        return f"one step of {total / 1e3:.3f} ms, {counts['layers']} of layers, {counts['kernels']} kernels"


def trace_step(trainer: Trainer, x: Array, y: Array) -> ChromeTrace:
    """Return one training step of a trainer on a batch as a trace.

    It is done on a copy of model and optimizer, so that nothing of the trainer changes, after one that does not count.
    Neither the step nor its update is captured, as within one call into compiled code nothing can be told apart; layers
    run fused, as ever. On a device each kernel is waited for, so that they have durations, but do not overlap with what
    Python does. The backend "numpy" has no kernels to show.

    Parameters
    ----------
    trainer : Trainer
        Its model, loss and optimizer.
    x, y : array
        A batch.

    Returns
    -------
    ChromeTrace
        With an event for each layer and kernel.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), 0.1))
    >>> one = np.ones((4, 1), np.float32)
    >>> fc.training.diagnostics.trace_step(trainer, one, one).backend
    'numpy'
    """
    plain = copy.copy(checked_trainer(trainer))
    plain.callbacks = ()
    copied = copy.deepcopy(plain)
    copied._capture = False
    optimizer = copied.optimizer

    def update() -> bool:
        optimizer.update()
        return True

    vars(optimizer)["step"] = lambda: optimizer.apply(update)
    copied.train_step(x, y)
    backend = copied.model.backend
    watch = _TraceWatch(backend, copied.model)
    with holding(watcher, watch), backend.trace(watch.launched):
        ended = watch.begin("step", "step")
        copied.train_step(x, y)
        backend.synchronize()
        ended()
    return ChromeTrace(backend.name, tuple(watch.events))


class _TraceWatch:
    """Notes what begins and ends."""

    def __init__(self, backend: Backend, model: AbstractLayer) -> None:
        self._backend = backend
        self._paths = {id(layer): path for layer, path in paths_of(model)}
        self._origin = time.perf_counter()
        self._open: list[Callable[[], None]] = []
        self.events: list[Event] = []

    def begin(self, name: str, row: _Row) -> Callable[[], None]:
        """Note a beginning; return what notes the end, without which it took no time."""
        begun, place = time.perf_counter(), len(self.events)
        self.events.append(Event(name, row, 1e6 * (begun - self._origin), 0.0))

        def ends() -> None:
            self.events[place] = replace(self.events[place], duration_us=1e6 * (time.perf_counter() - begun))

        return ends

    def launched(self, kernel: str) -> Callable[[], None]:
        """Note a kernel, see `Backend.trace`."""
        return self.begin(kernel, "kernels")

    def begins(self, step: FusedStep, direction: Pass, x: Array) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        layers = " + ".join(f"{type(layer).__name__} {self._paths.get(id(layer), '')}".strip() for layer in step.layers)
        self._open.append(self.begin(f"{layers}, {direction}", "layers"))

    def ends(self, result: Array | None) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        self._backend.synchronize()
        self._open.pop()()
