"""What somebody's own code leaves behind while a step is computed, and no replay does anew.

Looked for in attributes of its objects, in what these hold (containers, arrays, plain objects, generators of random
numbers), and in NumPy's and Python's common generators; not in classes, modules, iterators and other libraries.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.memory import is_pooled

_Contents = Mapping[Any, Any]
_COMMON = tuple(getattr(get, "__self__", None) for get in (np.random.get_state, random.getstate))
_OTHERS = {"fastconv", "builtins", "abc", "typing"}


class _Leaf:
    """The state of a generator, or the values of an array: compared and written as one."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Kind(NamedTuple):
    """How what is in an object is read, and written again."""

    read: Callable[[Any], _Contents]
    write: Callable[[Any, Any], object]


class SideEffects:
    """What there is now: to be looked at later, and to be put back."""

    def __init__(self, parts: Iterable[object]) -> None:
        self._parts = tuple(parts)
        # Objects of classes that are defined beside these; those of other libraries are let alone.
        self._rooms = {_room(base) for part in self._parts for base in type(part).__mro__} - _OTHERS | {"types"}
        self._before = [(value, kind, kind.read(value)) for value, kind in self._reached()]

    def seen(self) -> list[Hashable]:
        """Return what there is, to be compared.

        An array that the step computes with is as good as another one: who keeps his input for `backward` may.
        """
        reached = list(self._reached())
        places = {id(value): place for place, (value, _) in enumerate(reached)}
        return [tuple((key, _seen(each, places)) for key, each in kind.read(value).items()) for value, kind in reached]

    def put_back(self) -> None:
        """Give everything what was in it; what has it already is let alone, for an interrupt might leave it empty."""
        for value, kind, contents in self._before:
            now = kind.read(value)
            if list(now) != list(contents) or any(now[key] is not each for key, each in contents.items()):
                kind.write(value, contents)

    def _reached(self) -> Iterator[tuple[Any, _Kind]]:
        """Yield all that may change, each once."""
        waiting, met = deque[Any]((*self._parts, *_COMMON)), dict[int, Any]()
        while waiting:
            value = waiting.popleft()
            kind = None if id(value) in met else self._kind_of(value)
            if kind is not None:
                met[id(value)] = value  # which keeps it: no other object gets its number
                waiting += kind.read(value).values()
                yield value, kind

    def _kind_of(self, value: Any) -> _Kind | None:
        if any(value is part for part in self._parts):
            return _OBJECT
        if isinstance(value, np.ndarray):
            return _ARRAY if value.flags.writeable and not is_pooled(value) else None
        kind = next((kind for kinds, kind in _KINDS if isinstance(value, kinds)), None)
        return _OBJECT if kind is None and hasattr(value, "__dict__") and _room(type(value)) in self._rooms else kind


def _room(cls: type) -> str:
    return str(cls.__module__).partition(".")[0]


def _seen(value: Any, places: Mapping[int, int]) -> Hashable:
    if isinstance(value, _Leaf):
        value = value.value
    elif id(value) in places:
        return type(value).__name__, places[id(value)]
    if isinstance(value, np.ndarray):
        return None if is_pooled(value) else (value.dtype.str, value.shape, value.tobytes())
    plain = isinstance(value, int | float | complex | str | bytes | tuple | dict | np.generic | None)
    return (type(value).__name__, repr(value)) if plain else id(value)


def _set_attributes(value: Any, contents: _Contents) -> None:
    vars(value).update(contents)
    for name in vars(value).keys() - contents.keys():
        del vars(value)[name]


def _fill(value: Any, contents: _Contents) -> None:
    value.clear()
    (value.update if isinstance(value, set) else value.extend)(contents.values())


def _fill_dict(value: Any, contents: _Contents) -> None:
    value.clear()
    value.update(contents)


def _stated(read: Callable[[Any], Any], write: Callable[[Any, Any], object]) -> _Kind:
    return _Kind(lambda value: {0: _Leaf(read(value))}, lambda value, was: write(value, was[0].value))


_OBJECT = _Kind(lambda value: dict(vars(value)), _set_attributes)
_ARRAY = _stated(np.ndarray.copy, lambda array, values: np.copyto(array, values))
_KINDS: tuple[tuple[Any, _Kind], ...] = (
    (list | deque | set, _Kind(lambda value: dict(enumerate(value)), _fill)),
    (tuple, _Kind(lambda value: dict(enumerate(value)), lambda value, contents: None)),
    (dict, _Kind(dict, _fill_dict)),
    (
        np.random.Generator,
        _stated(lambda g: g.bit_generator.state, lambda g, was: setattr(g.bit_generator, "state", was)),
    ),
    (np.random.RandomState, _stated(lambda g: g.get_state(legacy=False), lambda g, was: g.set_state(was))),
    (random.Random, _stated(lambda g: g.getstate(), lambda g, was: g.setstate(was))),
)
