"""Methods have docstrings: their own, or that of the one that they stand for in a class above."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import fastconv as fc

ROOMS = ("data", "losses", "metrics", "nn", "optim", "parallel", "report", "training")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield a package and all that is in it; none of them imports an extra before it is asked for."""
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def silent(cls: type) -> list[str]:
    """Return the methods and properties of a class that say nothing, and nor does what they stand for."""
    own = [name for name, value in vars(cls).items() if inspect.isroutine(value) or isinstance(value, property)]
    public = [name for name in own if not name.startswith("_")]
    return [name for name in public if not any(getattr(vars(base).get(name), "__doc__", "") for base in cls.__mro__)]


def test_methods_of_all_classes_say_what_they_do() -> None:
    classes = {
        cls
        for room in ROOMS
        for module in modules(importlib.import_module(f"fastconv.{room}"))
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not cls.__name__.startswith("_")
    }
    assert len(classes) > 200
    assert not {cls.__qualname__: found for cls in classes if (found := silent(cls))}


def test_one_that_says_nothing_is_told() -> None:
    class Doubled(fc.nn.Layer):
        def forward(self, x, *, training):
            return 2 * x, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return 2 * grad_output

        def more(self):
            return 3

    assert silent(Doubled) == ["more"]
