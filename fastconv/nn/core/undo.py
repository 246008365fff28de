"""Changes of state that are made whole or not at all, whatever interrupts them.

An exception may come between any two instructions of Python: Ctrl-C, a timer, no memory. What was changed until then
is put back, and the exception goes on. A second interrupt while that is done may break it off; even then no weight
that was prepared before passes for one of the present values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.parameter import Buffer, Parameter

_Model = TypeVar("_Model", bound=AbstractLayer)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Method = Callable[Concatenate[_Model, _Arguments], _Result]


class Snapshot:
    """The present values of some arrays of a backend: `kept` has each array with its values."""

    __slots__ = ("_backend", "kept")

    def __init__(self, backend: Backend, arrays: Iterable[Array]) -> None:
        self._backend = backend
        self.kept = [(array, backend.copy_of(array)) for array in arrays]

    def values(self) -> list[Array]:
        """Return the values that are kept."""
        return [kept for _, kept in self.kept]

    def put_back(self) -> None:
        """Give the arrays these values again."""
        for array, kept in self.kept:
            self._backend.copy(kept, out=array)


def kept_unless_done(backend: Backend, arrays: Iterable[Array], change: Callable[[], object]) -> None:
    """Do what changes arrays, and give them their values back if that ends by an exception.

    A function, not a context: an interrupt on the way out of one closes its generator, which would put back what is
    done.
    """
    before = Snapshot(backend, arrays)
    try:
        change()
    except BaseException:
        before.put_back()
        raise


def arenas_of(tensors: Iterable[Buffer]) -> list[Array]:
    """Return the flat arrays that tensors live in, each once."""
    return list({id(tensor.arena): tensor.arena.data for tensor in tensors}.values())


def touch_all(tensors: Iterable[Buffer]) -> None:
    """Say of all parameters among the tensors that their values were changed."""
    for tensor in tensors:
        if isinstance(tensor, Parameter):
            tensor.touch()


def sets_all_or_none(change: _Method[_Model, _Arguments, _Result]) -> _Method[_Model, _Arguments, _Result]:
    """Wrap a function that changes values of the model that is its first argument."""

    @functools.wraps(change)
    def whole(model: _Model, /, *arguments: _Arguments.args, **more: _Arguments.kwargs) -> _Result:
        tensors = model.tensors()
        before = Snapshot(model.backend, arenas_of(tensors))
        try:
            return change(model, *arguments, **more)
        except BaseException:
            before.put_back()
            touch_all(tensors)
            raise

    return whole


def moves_all_or_none(change: _Method[_Model, _Arguments, _Result]) -> _Method[_Model, _Arguments, _Result]:
    """Wrap a function that changes layers, or where their tensors live: of the model that is its first argument."""

    @functools.wraps(change)
    def whole(model: _Model, /, *arguments: _Arguments.args, **more: _Arguments.kwargs) -> _Result:
        layers = [(layer, dict(vars(layer))) for layer in model.walk()]
        homes = [(tensor, _home(tensor)) for layer, _ in layers for tensor in layer.own_tensors()]
        try:
            return change(model, *arguments, **more)
        except BaseException:
            for layer, attributes in layers:
                vars(layer).clear()
                vars(layer).update(attributes)
            for tensor, home in homes:
                _take_home(tensor, home)
            raise

    return whole


def _home(tensor: Buffer) -> tuple[Any, ...]:
    has_grad = isinstance(tensor, Parameter) and tensor.has_grad
    return tensor.name, tensor.retired, tensor.offset, getattr(tensor, "arena", None), has_grad


def _take_home(tensor: Buffer, home: tuple[Any, ...]) -> None:
    tensor.name, tensor.retired, offset, arena, has_grad = home
    if arena is not None:
        tensor.place(arena, offset)
        if has_grad and isinstance(tensor, Parameter):
            tensor.wrote_grad()
