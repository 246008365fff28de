"""Attributes that nobody reads are refused, with a word on what to write instead.

``model.trainable = False`` or ``optimizer.learning_rate = 0.1``, habits from elsewhere, would otherwise be kept by
Python and change nothing.
"""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.errors import UnknownAttributeError

_OURS = __name__.partition(".")[0]


class _Made(abc.ABCMeta):
    """Notes when an object's ``__init__`` is through: until then it may set what it likes."""

    def __call__(cls, *arguments: Any, **more: Any) -> Any:
        made = super().__call__(*arguments, **more)
        vars(made)["_made"] = True
        return made


class Declared(metaclass=_Made):
    """An object that takes no attributes but those that it has.

    An object of a class derived outside of fastconv takes any, but for those `misleading` that it has not got. What
    begins with an underscore is nobody's habit.

    Attributes
    ----------
    habits : mapping of str to str
        Names that other libraries have, and what to write here.
    misleading : frozenset of str
        Those of them that one sets elsewhere, and that do something there.
    """

    habits: ClassVar[Mapping[str, str]] = {}
    misleading: ClassVar[frozenset[str]] = frozenset()
    _made = False

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and not name.startswith("_") and name not in vars(self):
            cls, ours = type(self), is_ours(type(self))
            if not hasattr(cls, name) and (ours or name in self.misleading) and name not in _annotated(cls):
                raise self._unknown(name)
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # else every name would pass for an attribute

        def __getattr__(self, name: str) -> Any:
            raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownAttributeError:
        return unknown_attribute(type(self), name, self.habits)


def is_ours(cls: type) -> bool:
    """Tell whether a class is fastconv's own."""
    return cls.__module__.partition(".")[0] == _OURS


def unknown_attribute(cls: type, name: str, habits: Mapping[str, str]) -> UnknownAttributeError:
    """Return the error for an attribute that objects of `cls` do not have."""
    advice = f" ({habits[name]})" if name in habits else ""
    return UnknownAttributeError(f"{name}: got an attribute that {cls.__name__} has not; allowed: its own{advice}")


@functools.cache
def _annotated(cls: type) -> frozenset[str]:
    """Return the names that the class declares without a value."""
    return frozenset(name for base in cls.__mro__ for name in inspect.get_annotations(base))
