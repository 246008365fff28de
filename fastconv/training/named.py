"""What a run can be made of by name: the classes of the rooms, with the settings that their constructors take.

Nothing is listed here. What a room exports can be chosen, by its name in any case and with or without hyphens
(``OneCycle``, ``one-cycle``), and takes what its signature says; it checks the values itself.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from fastconv import _validate as validate
from fastconv._nearest import nearest
from fastconv.errors import ArgumentError, FastconvError

NAME = "name"
_ROOMS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # kind: the module, and base classes of what can be chosen there
    "optimizer": ("fastconv.optim", ("Optimizer",)),
    "schedule": ("fastconv.optim.schedules", ()),
    "loss": ("fastconv.losses", ("DeclaredLoss",)),
    "metric": ("fastconv.metrics", ("Metric",)),
    "callback": ("fastconv.training", ("Callback",)),
    "augmentation": ("fastconv.data", ("Augmentation", "FlipCrop")),
    "clip": ("fastconv.training", ("Clip",)),
    "model": ("fastconv.models", ()),
    "activation": ("fastconv.nn", ("PointwiseLayer",)),
}
KINDS = tuple(_ROOMS)
_ALONE = ("FlipCrop",)  # base classes that can be chosen themselves
_ACTIVATION = "activation"
_Setting = str | int | float | bool


def choices(kind: str) -> dict[str, Callable[..., Any]]:
    """Return what of a kind can be chosen: "optimizer", "schedule", "loss", "metric", "callback" and so on."""
    room, bases = _ROOMS[kind]
    found = _members(kind, importlib.import_module(room), bases)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _members(kind: str, module: ModuleType, bases: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """Return what of a kind a module exports, and the modules that it exports."""
    found: dict[str, Callable[..., Any]] = {}
    for name in getattr(module, "__all__", vars(module)):
        each = getattr(module, name)
        if inspect.ismodule(each):
            if not each.__name__.startswith(module.__name__) or not hasattr(each, "__all__"):
                continue
            found |= _members(kind, each, bases)
        elif kind == "model":
            found |= {name: each} if hasattr(each, "unbuilt") else {}
        elif isinstance(each, type) and not inspect.isabstract(each) and not getattr(each, "_is_protocol", False):
            of_room = {base.__name__ for base in each.__mro__} & set(bases)
            ours = of_room if bases else each.__module__.startswith(module.__name__)
            found |= {name: each} if ours and (name not in bases or name in _ALONE) else {}
    return found


def canonical(kind: str, name: Any) -> str:
    """Return the name as the room has it; ArgumentError, with the nearest one, if there is none."""
    found = choices(kind)
    by_key = {_key(each): each for each in found}
    if isinstance(name, str) and _key(name) in by_key:
        return by_key[_key(name)]
    raise ArgumentError(f"{kind}: got {name!r}; allowed: {', '.join(found)}{meant(name, found)}")


def build(kind: str, spec: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return what `spec` says, {"name": ..., setting: value}.

    Parameters
    ----------
    given : mapping
        Values for parameters, by their names, that `spec` does not set; those that there are not are passed over.

    Raises
    ------
    ArgumentError
        There is no such name or setting, one is missing, or its value is refused.
    """
    name, make, settings = _chosen(kind, spec)
    settings = {key: _built(kind, value, given) for key, value in _named(settings, _activation).items()}
    parameters = parameters_of(make)
    filled = {key: value for key, value in given.items() if key in parameters and key not in settings}
    settings = filled | settings
    missing = [key for key, each in parameters.items() if each.default is each.empty and key not in settings]
    if kind in missing or isinstance(settings.get(kind), str):  # one around another of its kind
        inner = settings.get(kind, "SGD" if kind == "optimizer" else "Cosine")
        got = repr(settings[kind]) if kind in settings else "none"
        advice = f"a table of it, {kind}.{kind} with a name (--set {kind}.{kind}.name={inner})"
        raise ArgumentError(f"{kind} {name}: {kind}: got {got}; allowed: {advice}")
    if missing:
        raise ArgumentError(f"{kind} {name}: got no {missing[0]}; allowed: with {' and '.join(missing)}")
    return called(f"{kind} {name}", make, settings, filled)


def called(what: str, make: Callable[..., Any], settings: Mapping[str, Any], filled: Iterable[str] = ()) -> Any:
    """Return ``make(**settings)``; what it refuses is an error that says of what the settings are.

    Of those in `filled`, which nobody wrote, it says so.
    """
    try:
        return make(**settings)
    except FastconvError as error:
        first = str(error).partition(":")[0]
        unset = f" ({first} was not set, so it follows from the rest of the run)" if first in filled else ""
        raise ArgumentError(f"{what}: {error}{unset}") from error
    except (TypeError, ValueError) as error:  # a value of a kind that its own checks do not see
        raise ArgumentError(f"{what}: got {dict(settings)!r:.200} ({error}); allowed: what it takes") from error


def resolved(kind: str, spec: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """Return `spec` with the name as the room has it, and with the defaults of the settings that are not given.

    What is in `without` is no setting.
    """
    name, make, settings = _chosen(kind, spec, *without)
    settings = _named(settings, partial(canonical, _ACTIVATION))
    settings = {key: resolved(kind, each) if _is_spec(each) else each for key, each in settings.items()}
    return {NAME: name, **defaults(make, *without), **settings}


def defaults(make: Callable[..., Any], *without: str) -> dict[str, Any]:
    """Return the default values in a signature that a file of settings can hold."""
    found = {key: each.default for key, each in parameters_of(make).items() if key not in without}
    return {key: _plain(value) for key, value in found.items() if _is_plain(value)}


def checked_settings(what: str, make: Callable[..., Any], settings: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """Return settings that the signature of `make` has, but for `without`; ArgumentError names one that it has not."""
    allowed = [key for key in parameters_of(make) if key not in without]
    for key in settings:
        if key not in allowed:
            absent, habits = getattr(make, "absent", {}), getattr(make, "argument_habits", {})
            advice = f" ({absent[key]})" if key in absent else meant(habits.get(key, key), allowed)
            raise ArgumentError(f"{what}: got the setting {key!r}; allowed: {', '.join(allowed) or 'none'}{advice}")
    return dict(settings)


def check_numbers(kind: str, spec: Mapping[str, Any], *without: str) -> None:
    """Refuse names that are no settings, and numbers that are none; others are checked where the part is made."""
    name, make, settings = _chosen(kind, spec, *without)
    declared = {scalar.name: partial(validate.scalar, declared=scalar) for scalar in getattr(make, "scalars", ())}
    for key in settings.keys() & declared:
        called(f"{kind} {name}", declared[key], {"value": settings[key]})


def parameters_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what a function or the constructor of a class takes by name."""
    function: Any = make.__init__ if inspect.isclass(make) else make  # a metaclass would hide it
    found = list(inspect.signature(function).parameters.values())[1 if inspect.isclass(make) else 0 :]
    return {each.name: each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}


def meant(name: Any, names: Iterable[str]) -> str:
    """Return `nearest`, whatever the case, the hyphens and the spaces."""
    return nearest(_key(str(name)), {_key(each): each for each in names}, 0.5)


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _chosen(kind: str, spec: Mapping[str, Any], *without: str) -> tuple[str, Callable[..., Any], dict[str, Any]]:
    """Return the name in `spec` as the room has it, what has that name, and the settings, checked."""
    name = canonical(kind, spec.get(NAME))
    make = choices(kind)[name]
    settings = {key: value for key, value in spec.items() if key != NAME}
    return name, make, checked_settings(f"{kind} {name}", make, settings, *without)


def _is_spec(value: Any) -> bool:
    return isinstance(value, Mapping) and NAME in value


def _named(settings: Mapping[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    """Return settings with `change` made to the name of an activation, which stands for its class."""
    return {
        key: change(each) if key == _ACTIVATION and isinstance(each, str) else each for key, each in settings.items()
    }


def _activation(name: str) -> Callable[..., Any]:
    return choices(_ACTIVATION)[canonical(_ACTIVATION, name)]


def _built(kind: str, value: Any, given: Mapping[str, Any]) -> Any:
    """Return a value as a constructor takes it: what is described is built, a list becomes a tuple."""
    if _is_spec(value):
        return build(kind, value, given)
    return tuple(_built(kind, each, given) for each in value) if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _Setting) and not isinstance(value, type)


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
