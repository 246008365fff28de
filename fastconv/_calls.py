"""Calls that do not fit what is called are refused, with a word on what to write instead.

``Adam(parameters, betas=(0.9, 0.999))`` and ``Conv2d(3, 32, 3)``, habits from elsewhere, are told of by Python only as
unexpected, or as too many. It is asked first: what fits costs nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar, cast

from fastconv._nearest import nearest
from fastconv.errors import ArgumentError

_Called = TypeVar("_Called", bound=Callable[..., Any])
_Class = TypeVar("_Class")
_NOTHING: Mapping[str, str] = {}
_LONGEST = 16  # characters of a default that a message shows
OF_LOSSES = {  # what other libraries call the arguments of losses and metrics
    **dict.fromkeys(("y_pred", "input", "preds", "logits"), "predictions"),
    **dict.fromkeys(("y_true", "target", "labels"), "targets"),
}


def misfit(
    label: str,
    taken: Mapping[str, inspect.Parameter],
    arguments: Collection[Any],
    named: Collection[str],
    *,
    habits: Mapping[str, str] = _NOTHING,
    absent: Mapping[str, str] = _NOTHING,
    surplus: str = "",
) -> ArgumentError | None:
    """Return the error for a call that does not fit what is `taken`, None if it does.

    `label` is what a message calls it; `habits`, `absent` and `surplus` are as `Declared` has them.
    """
    kinds = [parameter.kind for parameter in taken.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in named:
            if name not in taken:
                return unknown_argument(label, name, taken.keys(), habits, absent)
    places = [name for name, each in taken.items() if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    written = f"{label}({_listed(taken)})"
    if inspect.Parameter.VAR_POSITIONAL not in kinds and len(arguments) > len(places):
        advice = f" ({surplus})" if surplus else ""
        return ArgumentError(
            f"arguments: got {len(arguments)} without a name for {label}; allowed: {len(places) or 'none'}, as in"
            f" {written}{advice}"
        )
    given = places[: len(arguments)]
    twice = next((name for name in named if name in given), None)
    if twice is not None:
        return ArgumentError(f"{twice}: got two values for {label}; allowed: one, as in {written}")
    single = {name: each for name, each in taken.items() if not each.kind.name.startswith("VAR_")}
    missing = [name for name, each in single.items() if each.default is each.empty and name not in (*given, *named)]
    if missing:
        return ArgumentError(f"{', '.join(missing)}: got nothing for {label}; allowed: {written}")
    return None


def _listed(taken: Mapping[str, inspect.Parameter]) -> str:
    """Return what is taken as a call shows it, with short defaults."""
    bare = []
    for each in taken.values():
        shown = each.replace(annotation=each.empty)
        if each.default is not each.empty and len(repr(each.default)) > _LONGEST:
            shown = shown.replace(default=...)
        bare.append(shown)
    return str(inspect.Signature(bare)).removeprefix("(").removesuffix(")").replace("=Ellipsis", "=...")


def unknown_argument(
    label: str,
    name: str,
    taken: Collection[str],
    habits: Mapping[str, str] = _NOTHING,
    absent: Mapping[str, str] = _NOTHING,
) -> ArgumentError:
    """Return the error for an argument that is not taken, with the nearest of those that are."""
    return ArgumentError(
        f"{name}: got it for {label}, which has no such argument; allowed: {', '.join(taken) or 'none'}"
        f"{advice_on(name, taken, habits, absent)}"
    )


def advice_on(name: str, taken: Collection[str], habits: Mapping[str, str], absent: Mapping[str, str]) -> str:
    """Return the end of a message about a name that is not `taken`: what to write instead, or the nearest that is."""
    if name in absent:
        return f" ({absent[name]})"
    here = habits.get(name, "").split(", ")
    return f" (nearest: {', '.join(map(repr, here))})" if set(here) <= set(taken) else nearest(name, taken)


def tells_habits(absent: Mapping[str, str], surplus: str = "") -> Callable[[_Called], _Called]:
    """Let a function or method say what to write instead of a call that it does not take, such as ``fit(verbose=2)``.

    `absent` are arguments that others of its kind take, and what to write here; `surplus` is what there is to say of
    more arguments without a name than there are places.
    """

    def decorate(called: _Called) -> _Called:
        @functools.wraps(called)
        def run(*arguments: Any, **named: Any) -> Any:
            try:
                return called(*arguments, **named)
            except TypeError:
                taken = dict(inspect.signature(called).parameters)
                label, rest = called.__name__, arguments
                if "self" in taken and arguments:
                    del taken["self"]
                    label, rest = f"{type(arguments[0]).__name__}.{label}", arguments[1:]
                error = misfit(label, taken, rest, named, absent=absent, surplus=surplus)
                if error is None:
                    raise
            raise error

        return cast(_Called, run)

    return decorate


def methods_tell_habits(absent: Mapping[str, str]) -> Callable[[type[_Class]], type[_Class]]:
    """Let all methods that a class defines for its users say what `tells_habits` says."""

    def decorate(defined: type[_Class]) -> type[_Class]:
        for name, method in list(vars(defined).items()):
            if inspect.isfunction(method) and (name == "__call__" or not name.startswith("_")):
                setattr(defined, name, tells_habits(absent)(method))
        return defined

    return decorate
