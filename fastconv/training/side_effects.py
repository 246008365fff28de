"""What somebody's own code leaves in attributes of its objects while a step is computed, and no replay does anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from fastconv.backends.memory import is_pooled

_CONTAINERS = list, tuple, set, dict, deque


class Attributes:
    """The attributes of some objects as they are, to look at and to put back."""

    def __init__(self, parts: Iterable[object]) -> None:
        self._before = [(part, dict(vars(part))) for part in parts]
        values = (value for _, attributes in self._before for value in attributes.values())
        self._within = [(value, value.copy()) for value in values if _may_change(value)]

    def seen(self) -> list[Hashable]:
        """Return what they are now, to be compared: numbers, texts and host arrays, and containers of these.

        An array that the step computes with is as good as another one: who keeps his input for `backward` may.
        """
        return [tuple((name, _seen(value)) for name, value in vars(part).items()) for part, _ in self._before]

    def put_back(self) -> None:
        """Give the objects their attributes again, and lists, sets, dictionaries and arrays what was in them."""
        for part, attributes in self._before:
            vars(part).update(attributes)
            for name in vars(part).keys() - attributes.keys():
                del vars(part)[name]
        for value, kept in self._within:
            if isinstance(value, np.ndarray):
                value[...] = kept
                continue
            value.clear()
            value.extend(kept) if isinstance(value, list | deque) else value.update(kept)


def _may_change(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.flags.writeable and not is_pooled(value)
    return type(value) in _CONTAINERS and not isinstance(value, tuple)


def _seen(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return None if is_pooled(value) else (value.dtype.str, value.shape, value.tobytes())
    if type(value) in _CONTAINERS:
        items = value.items() if isinstance(value, dict) else value
        return type(value).__name__, *map(_seen, items)
    plain = isinstance(value, int | float | complex | str | bytes | np.generic)
    return (type(value).__name__, repr(value)) if plain else id(value)
