"""What an optimizer works on: the part of each arena with its parameters, and the pieces of it that a group has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, BackendMismatchError, CheckpointError
from fastconv.kernels.update_rules import PIECE_ELEMENTS
from fastconv.nn.core.parameter import Arena, Parameter, arena_slices

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Region:
    """An arena from the first to the last of some parameters, flat; arrays of state are as large.

    Attributes
    ----------
    parameters : tuple of Parameter
        Those of the optimizer; others may lie between them.
    begin : int
        Of the region, in the arena.
    places : mapping of Parameter to slice
        Where each lay in arrays of state when this was made, wherever it is by now.
    data, grad : array
    """

    parameters: tuple[Parameter, ...]
    arena: Arena
    begin: int
    places: Mapping[Parameter, slice]
    data: Array
    grad: Array

    def view(self, flat: Array, parameter: Parameter) -> Array:
        """Return a parameter's part of an array of state."""
        return flat[self.places[parameter]].reshape(parameter.shape)

    def ranges(self, parameters: Iterable[Parameter]) -> list[tuple[int, int]]:
        """Return where those of `parameters` that lie here begin and end, neighbours joined."""
        mine = [parameter for parameter in parameters if parameter.arena is self.arena]
        return [(piece.begin - self.begin, piece.end - self.begin) for piece in arena_slices(mine)]

    def pieces(self, parameters: Iterable[Parameter]) -> Array | None:
        """Return what `Backend.update` takes to update those of `parameters` that lie here; None if that is all."""
        ranges = self.ranges(parameters)
        if ranges == [(0, self.data.size)]:
            return None
        cut = [(i, min(i + PIECE_ELEMENTS, end)) for begin, end in ranges for i in range(begin, end, PIECE_ELEMENTS)]
        return self.arena.backend.asarray(np.array(cut, np.int64).reshape(-1, 2))

    def filled(self, values: Iterable[tuple[Iterable[Parameter], float]]) -> Array:
        """Return an array as large: zeros, but for each of these values where its parameters lie."""
        backend, array = self.arena.backend, self.arena.backend.empty(self.data.shape, self.data.dtype)
        backend.fill(0.0, out=array)
        for parameters, value in values:
            for begin, end in self.ranges(parameters):
                backend.fill(value, out=array[begin:end])
        return array

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
    found: list[Region] = []
    for arena in {id(parameter.arena): parameter.arena for parameter in parameters}.values():
        mine = tuple(parameter for parameter in parameters if parameter.arena is arena)
        begin, end = min(p.offset for p in mine), max(p.offset + p.size for p in mine)
        grad: Array = arena.grad
        places = {p: slice(p.offset - begin, p.offset - begin + p.size) for p in mine}
        found.append(Region(mine, arena, begin, places, arena.data[begin:end], grad[begin:end]))
    return found


def trained(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return those that are not frozen."""
    return [parameter for parameter in parameters if not parameter.is_frozen]


def check_trained(frozen: Sequence[bool]) -> None:
    """Refuse to do steps where everything is frozen."""
    if all(frozen):
        raise ArgumentError(
            f"parameters: got {len(frozen)}, all of them frozen; allowed: at least one that is not (layer.unfreeze()"
            " lets those of a layer be trained)"
        )


def check_form(state: Mapping[str, Any], kind: str) -> None:
    """Refuse what the `state_dict` of an optimizer of this kind cannot have given, whatever arrays it is to have."""
    if not isinstance(state, Mapping):
        raise CheckpointError(f"state: got {validate.shown(state)}; allowed: what state_dict gave")
    if state.get("kind", kind) != kind:
        raise CheckpointError(f"state: got that of {state['kind']}; allowed: that of {kind}")
    missing = [name for name in ("kind", "steps", "lr", "tensors") if name not in state]
    if missing:
        named = ", ".join(map(repr, missing))
        raise CheckpointError(f"state: got one without {named}; allowed: what the state_dict of {kind} gave")
    try:
        validate.at_least(state["steps"], 0, "steps")
        validate.number(state["lr"], "lr", low=0)
    except ArgumentError as error:
        raise CheckpointError(f"state: got one that cannot be taken; {error}") from error
    tensors = state["tensors"]
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"state: got tensors = {validate.shown(tensors)}; allowed: NumPy arrays by their names")
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray):
            raise CheckpointError(f"state: got {validate.kind_of(array)} for {name}; allowed: a NumPy array")


def check_tensors(tensors: Mapping[str, np.ndarray], wanted: Mapping[str, Parameter]) -> None:
    """Refuse arrays of state that are not, name by name, as large as the parameters and of their type."""
    if set(tensors) != set(wanted):
        odd = next(name for name in (*wanted, *tensors) if name not in wanted or name not in tensors)
        raise CheckpointError(f"state: got that of other parameters (such as {odd}); allowed: that of these")
    for key, parameter in wanted.items():
        got, dtype = tensors[key], parameter.array.dtype
        # A scalar's is a (1,) in older files.
        if got.shape not in (parameter.shape, parameter.shape or (1,)) or got.dtype != dtype:
            raise CheckpointError(f"state: got {got.dtype} {got.shape} for {key}; allowed: {dtype} {parameter.shape}")


def by_name(pairs: Iterable[tuple[str, _Value]]) -> dict[str, _Value]:
    """Return what a state has by the names of parameters; ArgumentError if two are called alike."""
    found: dict[str, _Value] = {}
    for key, value in pairs:
        if key in found:
            raise ArgumentError(
                f"parameters: got two that are called {key.rpartition('/')[2]!r}, as those of two models may be;"
                " allowed: an optimizer for each model, as a state has them by name"
            )
        found[key] = value
    return found
