"""Attributes that nobody reads and names that nobody has are refused, with a word on what to write instead.

``model.trainable = False`` or ``optimizer.learning_rate = 0.1``, habits from elsewhere, would otherwise be kept by
Python and change nothing. Arguments that nobody takes are refused in `fastconv._calls`, for classes from here.
"""

from __future__ import annotations

import abc
import contextlib
import dis
import functools
import inspect
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from fastconv._calls import misfit
from fastconv.errors import ArgumentError, UnknownAttributeError

_OURS = __name__.partition(".")[0]
_ABOUT = {"habits": "argument_habits", "absent": "absent", "surplus": "surplus"}  # what a class says of arguments


class Asked(abc.ABCMeta):
    """Refuses arguments that a class does not take, with what is taken."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        try:
            return super().__call__(*arguments, **named)
        except TypeError:
            about = {name: getattr(cls, was) for name, was in _ABOUT.items() if hasattr(cls, was)}
            error = misfit(cls.__name__, cls.__signature__.parameters, arguments, named, **about)
            if error is None:
                error = _undefined(cls)
            if error is None:
                raise
        raise error

    @property
    def __signature__(cls) -> inspect.Signature:
        """Return what ``__init__`` takes, which `help` and editors would not see behind ``__call__``."""
        made: Callable[..., None] = type.__getattribute__(cls, "__init__")
        if made is object.__init__:
            return inspect.Signature()
        signature = inspect.signature(made)
        return signature.replace(parameters=[*signature.parameters.values()][1:])


class Made(Asked):
    """Also notes when an object's ``__init__`` is through: until then it may set what it likes."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        made = super().__call__(*arguments, **named)
        vars(made)["_made"] = True
        return made


class Declared(metaclass=Made):
    """An object that takes no attributes but those that it has.

    An object of a class derived outside of fastconv takes any, but for those `misleading` that it has not got. What
    begins with an underscore is nobody's habit.

    Attributes
    ----------
    habits : mapping of str to str
        Names that other libraries have, and what to write here.
    argument_habits : mapping of str to str
        What other libraries call arguments, and what to write in classes that have such.
    misleading : frozenset of str
        Those of `habits` that one sets elsewhere, and that do something there.
    absent : mapping of str to str
        Arguments that others of its kind take, and why it has not got them.
    surplus : str
        What there is to say of more arguments without a name than there are places.
    by_class : frozenset of str
        Methods that decide what is computed, which no object gets of its own: what runs several layers as one, or
        repeats a step, asks the class alone, and would not call it.
    """

    habits: ClassVar[Mapping[str, str]] = {}
    argument_habits: ClassVar[Mapping[str, str]] = {}
    misleading: ClassVar[frozenset[str]] = frozenset()
    absent: ClassVar[Mapping[str, str]] = {}
    surplus: ClassVar[str] = ""
    by_class: ClassVar[frozenset[str]] = frozenset()
    _made = False

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[None]:
        """Take any attribute meanwhile, as in ``__init__``.

        Yields
        ------
        None
            Until the ``with`` ends.
        """
        vars(self)["_made"] = False
        try:
            yield
        finally:
            vars(self)["_made"] = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and not name.startswith("_"):
            cls, new = type(self), name not in vars(self)
            if new and not hasattr(cls, name):
                self._check_unknown(name)
            value = self._new_value(name, value)
            declared = getattr(cls, name, None) if new else None
            if isinstance(declared, FunctionType) and (name in self.by_class or not callable(value)):
                derived = f"a class derived from {cls.__name__} that defines it"
                raise self._not_set(name, value, "a method, to be called", derived if callable(value) else "")
            if isinstance(declared, property) and declared.fset is None:
                raise self._not_set(name, value, "a value to be read")
        super().__setattr__(name, value)

    def _check_unknown(self, name: str) -> None:
        cls = type(self)
        if (is_ours(cls) or name in self.misleading) and name not in annotated(cls):
            raise self._unknown(name)

    def _new_value(self, name: str, value: Any) -> Any:
        """Return a new value for an attribute of an object that is made, as `__init__` would have kept it.

        What it was made of is checked there, and some of it is read there alone; so it stays, unless a class says how
        it is checked again.
        """
        cls = computes_as(cast(Hashable, type(self)))
        if is_ours(cls) and name in vars(self) and name in argument_names(cls):
            raise fixed(self, name, f"a new {type(self).__name__} with {name}={value!r}")
        return value

    if not TYPE_CHECKING:  # else every name would pass for an attribute

        def __getattr__(self, name: str) -> Any:
            raise self._unknown(name)

    def _not_set(self, name: str, value: Any, kind: str, instead: str = "") -> UnknownAttributeError:
        """Return the error for a new value in the place of something else."""
        got = f"{name}: got {value!r:.40} in the place of {kind}, of {type(self).__name__}"
        allowed = instead or self.habits.get(name, "no new value")
        return UnknownAttributeError(f"{got}; allowed: {allowed}", name=name)

    def _unknown(self, name: str) -> UnknownAttributeError:
        return unknown_attribute(self, name, self.habits)


def _undefined(cls: Asked) -> ArgumentError | None:
    """Return the error for a class that leaves out what its kind has to define, None if it has all."""
    missing = [f"{name}{_bare(inspect.signature(getattr(cls, name)))}" for name in sorted(cls.__abstractmethods__)]
    if not missing:
        return None
    return ArgumentError(f"{cls.__name__}: got a class that leaves something out; allowed: with {', '.join(missing)}")


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature as one writes it, without types."""
    parameters = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
    return inspect.Signature(parameters)


def is_ours(cls: object) -> bool:
    """Tell whether a class, or a function, is fastconv's own."""
    return cls.__module__.partition(".")[0] == _OURS


@functools.cache
def computes_as(cls: type) -> type:
    """Return the class of fastconv's own that objects of `cls` compute as, `cls` itself if there is none.

    That is the nearest one that it is derived from, unless it defines anew what that one defines: another ``__init__``
    and new names do not count, another ``forward`` does.
    """
    mine: set[str] = set()
    for base in cls.__mro__:
        if is_ours(base):
            return cls if any(hasattr(base, name) for name in mine) else base
        mine |= _computing_names(base)
    return cls


def is_strange(part: Any) -> bool:
    """Tell whether what an object computes was defined outside of fastconv."""
    return not is_ours(computes_as(cast(Hashable, type(part))))


def settings_of(part: Any) -> Mapping[str, Any] | None:
    """Return ``part.settings()``: all that decides what a layer, loss or optimizer computes, beside its arrays.

    None if it is not known: there is no such method, it returns None, or it is that of a class from which this one was
    derived with another ``forward``, say. Who defines such a thing anew defines `settings`, or a layer's
    `setting_names`, along with it.
    """
    settings: Mapping[str, Any] | None = part.settings() if _speaks(cast(Hashable, type(part))) else None
    return settings


@functools.cache
def _speaks(cls: type) -> bool:
    """Tell whether `settings` was defined with all that `cls` computes."""
    mine: set[str] = set()
    for base in cls.__mro__:
        if "settings" in vars(base) or is_ours(base):
            return hasattr(base, "settings") and not any(hasattr(base, name) for name in mine)
        mine |= _computing_names(base)
    return False


def _computing_names(cls: type) -> set[str]:
    """Return what a class defines that may decide what its objects compute."""
    return {name for name in vars(cls) if name == "__call__" or not name.startswith(("__", "_abc_"))}


def unknown_attribute(owner: Any, name: str, habits: Mapping[str, str]) -> UnknownAttributeError:
    """Return the error for an attribute that an object does not have."""
    advice = f" ({habits[name]})" if name in habits else ""
    message = f"{name}: got an attribute that {type(owner).__name__} has not; allowed: its own{advice}"
    return UnknownAttributeError(message, name=name, obj=owner)


def fixed(owner: Any, name: str, instead: str) -> ArgumentError:
    """Return the error for an attribute that is set where nothing would read it."""
    return ArgumentError(
        f"{name}: got a new value for the {type(owner).__name__}, made with another; allowed: {instead}"
    )


def settled(name: str, instead: str) -> property:
    """Return an attribute of tensors that is kept under another name, and not set; read without a call into Python.

    ``array += 1`` sets the array that is there, which is let be.
    """
    kept = attrgetter(f"_{name}")

    def refuse(tensor: Any, value: Any) -> None:
        if isinstance(value, bool) or value is not kept(tensor):
            got = " ".join(f"{value!r:.40}".split())
            raise ArgumentError(f"{name}: got {got} for {tensor.name}; allowed: {instead.format(tensor.name)}")

    return property(kept, refuse)


@functools.cache
def argument_names(cls: type) -> frozenset[str]:
    """Return the names of what objects of `cls` are made of."""
    return frozenset(inspect.signature(cls).parameters)


@functools.cache
def annotated(cls: type) -> frozenset[str]:
    """Return the names that the class declares without a value."""
    return frozenset(name for base in cls.__mro__ for name in inspect.get_annotations(base))


def tells_names(room: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module, which says what a name of elsewhere is called here."""

    def tell(name: str) -> Any:
        raise unknown_name(room, name)

    return tell


def unknown_name(room: str, name: str) -> AttributeError:
    """Return the error for a name that the module `room` has not; ImportError where an import asks for it."""
    if name.startswith("_"):  # what Python and its tools ask for, and nobody's habit
        return AttributeError(f"module {room!r} has no attribute {name!r}")
    from fastconv import _elsewhere

    error = _elsewhere.unknown_name(room, name)
    if _asked_by_import() and f"{room}.{name}" not in sys.modules:
        raise ImportError(str(error), name=room) from None
    return error


def _asked_by_import() -> bool:
    """Tell whether a name is asked for by ``from room import name``, which has no words for an AttributeError's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _OURS:
        frame = frame.f_back
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"
