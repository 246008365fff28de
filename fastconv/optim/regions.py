"""What an optimizer works on: the part of each arena with its parameters, and the pieces of it that a group has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, BackendMismatchError
from fastconv.kernels.update_rules import PIECE_ELEMENTS
from fastconv.nn.core.parameter import Arena, Parameter, runs


@dataclass(frozen=True, eq=False)
class Region:
    """An arena from the first to the last of some parameters, flat; arrays of state are as large.

    Attributes
    ----------
    parameters : tuple of Parameter
        Those of the optimizer; others may lie between them.
    begin : int
        Of the region, in the arena.
    data, grad : array
    """

    parameters: tuple[Parameter, ...]
    arena: Arena
    begin: int
    data: Array
    grad: Array

    def view(self, flat: Array, parameter: Parameter) -> Array:
        """Return a parameter's part of an array of state."""
        begin = parameter.offset - self.begin
        return flat[begin : begin + parameter.size].reshape(parameter.shape)

    def ranges(self, parameters: Iterable[Parameter]) -> list[tuple[int, int]]:
        """Return where those of `parameters` that lie here begin and end, neighbours joined."""
        mine = [parameter for parameter in parameters if parameter.arena is self.arena]
        return [(run.begin - self.begin, run.end - self.begin) for run in runs(mine)]

    def pieces(self, parameters: Iterable[Parameter]) -> Array | None:
        """Return what `Backend.update` takes to update those of `parameters` that lie here; None if that is all."""
        ranges = self.ranges(parameters)
        if ranges == [(0, self.data.size)]:
            return None
        cut = [(i, min(i + PIECE_ELEMENTS, end)) for begin, end in ranges for i in range(begin, end, PIECE_ELEMENTS)]
        return self.arena.backend.asarray(np.array(cut, np.int64).reshape(-1, 2))

    def check_home(self, backend: Backend) -> None:
        """Refuse to go on where its parameters live elsewhere by now."""
        for parameter in self.parameters:
            if parameter.retired:
                raise ArgumentError(
                    "parameters: got those of a model that was built again; allowed: an optimizer made afterwards"
                )
            if parameter.arena is self.arena:
                continue
            home = parameter.arena.backend
            if home is backend:
                raise ArgumentError(
                    f"parameters: got {parameter.name}, whose layer was built into another model since; allowed:"
                    " an optimizer made afterwards"
                )
            raise BackendMismatchError(
                f"parameters: got a model that was moved and lives on {home.name!r} now; allowed:"
                f" an optimizer made after model.to (this one was made on {backend.name!r})"
            )


def regions(parameters: Sequence[Parameter]) -> list[Region]:
    """Return the regions that parameters lie in, one for each arena."""
    return list(_regions(parameters))


def _regions(parameters: Sequence[Parameter]) -> Iterator[Region]:
    arenas = {id(parameter.arena): parameter.arena for parameter in parameters}
    for arena in arenas.values():
        mine = tuple(parameter for parameter in parameters if parameter.arena is arena)
        begin, end = min(p.offset for p in mine), max(p.offset + p.size for p in mine)
        grad: Array = arena.grad
        yield Region(mine, arena, begin, arena.data[begin:end], grad[begin:end])
