"""Shards that pass each layer together: all of them up to a layer that wants the whole batch, and on from there.

Each has gradients and running statistics of its own meanwhile: when its turn comes, the model's tensors point there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.nn.core.meeting import Joining, meeting
from fastconv.nn.core.parameter import Parameter, arena_slices
from fastconv.nn.core.undo import arenas_of
from fastconv.nn.model.model import Layer
from fastconv.parallel.lockstep import LockStep
from fastconv.training.step import Done

Joins = Callable[[list[np.ndarray], Joining], np.ndarray]


class Passed(NamedTuple):
    """What a shard's pass came to, its gradients, in `arena_slices`, and the running statistics that it left."""

    done: Done
    gradients: list[Array]
    statistics: list[Array]


class _Tensors:
    """What the model's tensors point to while a shard has its turn."""

    def __init__(self, model: Layer) -> None:
        backend, buffers = model.backend, model.buffers()
        self._parameters = [tensor for tensor in model.tensors() if isinstance(tensor, Parameter)]
        homes = {id(p.arena): backend.empty(p.arena.data.shape, p.arena.data.dtype) for p in self._parameters}
        for flat in homes.values():
            backend.fill(0.0, out=flat)  # of what gets no gradient, and between
        self.gradients = [homes[id(piece.arena)][piece.begin : piece.end] for piece in arena_slices(self._parameters)]
        self.statistics = list(map(backend.copy_of, arenas_of(buffers)))
        places = dict(zip([id(array) for array in arenas_of(buffers)], self.statistics, strict=True))
        self._targets = [(p, p.slice_of(homes[id(p.arena)])) for p in self._parameters]
        self._arrays = [(b, b.slice_of(places[id(b.arena.data)])) for b in buffers]
        self._written = [False] * len(self._parameters)

    def take(self) -> None:
        for (parameter, target), written in zip(self._targets, self._written, strict=True):
            parameter.write_to(target, written=written)
        for buffer, array in self._arrays:
            buffer._array = array

    def leave(self) -> None:
        self._written = [parameter.has_grad for parameter in self._parameters]


class _Meeting:
    """Of one shard, and the others by `LockStep`."""

    def __init__(self, number: int, steps: list[LockStep[Done]], joins: Joins) -> None:
        self._number, self._steps, self._joins = number, steps, joins

    def join(self, mine: np.ndarray, joining: Joining) -> np.ndarray:
        """See `fastconv.nn.core.meeting.Meeting`."""
        found: np.ndarray = self._steps[0].meet(self._number, mine, lambda all_of: self._joins(all_of, joining))
        return found


def pass_together(model: Layer, passes: Sequence[Callable[[], Done]], joins: Joins) -> list[Passed]:
    """Do the passes of shards, each up to where it meets the others; the model's own gradients stay as they are.

    Parameters
    ----------
    joins : callable
        Joins what all of them bring to a meeting, given in their order.
    """
    own = [_Tensors(model) for _ in passes]
    homes = [(tensor, tensor.array) for tensor in model.buffers()]
    steps: list[LockStep[Done]] = []
    present: list[int] = []

    def within(number: int) -> Callable[[], Done]:
        def run() -> Done:
            meeting.set(_Meeting(number, steps, joins))
            return passes[number]()

        return run

    def turn_to(number: int) -> None:
        if present:
            own[present.pop()].leave()
        own[number].take()
        present.append(number)

    steps.append(LockStep([within(number) for number in range(len(passes))], turn_to))
    try:
        found = steps[0].run()
    finally:
        for parameter in model.parameters():
            parameter.write_to(parameter.slice_of(parameter.arena.grad), written=False)
        for buffer, array in homes:
            buffer._array = array
    return [Passed(done, each.gradients, each.statistics) for done, each in zip(found, own, strict=True)]
