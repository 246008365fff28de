"""All that is public, found by walking from `fastconv` through what its rooms list."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import fastconv as fc


def names(module: ModuleType) -> list[str]:
    """Return what a module lists; of one without a list (`fastconv.errors`) the classes that it defines."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return sorted(getattr(module, "__all__", None) or [name for name in own if inspect.isclass(vars(module)[name])])


def public(module: ModuleType = fc) -> dict[str, Any]:
    """Return classes and functions by the names under which they are reached, each once.

    Left out is what has no docstring of its own: values (`fc.__version__`, `fc.data.SOURCES`, `fc.plot.COLOURS`) and
    the type that `fc.optim.schedules.Schedule` stands for.
    """
    found: dict[int, tuple[str, Any]] = {}
    for path, thing in _walk(module, set()):
        if inspect.isclass(thing) or inspect.isfunction(thing):
            found.setdefault(id(thing), (path, thing))
    return dict(found.values())


def _walk(module: ModuleType, seen: set[ModuleType]) -> Iterator[tuple[str, Any]]:
    seen.add(module)
    for name in names(module):
        thing = getattr(module, name)
        if not isinstance(thing, ModuleType):
            yield f"{module.__name__}.{name}", thing
        elif thing not in seen:
            yield from _walk(thing, seen)
