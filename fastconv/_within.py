"""Choices that hold within a ``with`` block, such as ``with fc.precision("fast"):``."""

from __future__ import annotations

import contextlib
import dis
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar, cast

_Value = TypeVar("_Value")
_Given = ParamSpec("_Given")
_THROWN_AWAY = dis.opmap["POP_TOP"]  # what a statement that is an expression does with its value


def within(
    written: str, instead: str = ""
) -> Callable[[Callable[_Given, Iterator[_Value]]], Callable[_Given, Within[_Value]]]:
    """Make of a generator what `contextlib.contextmanager` makes of it, and a warning where it stands alone on a line.

    `written` is how it is called in a message, where ``{}`` stands for the arguments; `instead` what else may be meant.
    """

    def decorate(function: Callable[_Given, Iterator[_Value]]) -> Callable[_Given, Within[_Value]]:
        make: Callable[_Given, AbstractContextManager[_Value]] = contextlib.contextmanager(function)

        @functools.wraps(function)
        def run(*arguments: _Given.args, **named: _Given.kwargs) -> Within[_Value]:
            return _Unused(functools.partial(make, *arguments, **named), written, instead)

        return run

    return decorate


def held(variable: ContextVar[_Value], value: _Value, given: Any = None) -> Iterator[Any]:
    """Let `variable` have a value until this generator, which yields `given` once, ends."""
    before = variable.get()
    try:
        try:
            variable.set(value)
            yield given
        finally:
            variable.set(before)
    finally:  # again: an interrupt may come before the first time
        variable.set(before)


@contextlib.contextmanager
def holding(variable: ContextVar[_Value], value: _Value) -> Iterator[None]:
    """Let `variable` have a value within a ``with`` block."""
    yield from held(variable, value)


class Within(contextlib.ContextDecorator, Generic[_Value]):
    """What holds within a ``with`` block, or within the function that it stands above."""

    def __init__(
        self, make: functools.partial[AbstractContextManager[_Value]], written: str, instead: str = ""
    ) -> None:
        self._make, self._written, self._instead = make, written, instead
        self._block: AbstractContextManager[_Value] | None = None

    def __call__(self, function: Any) -> Any:
        self.__class__ = Within
        return super().__call__(function)

    def _recreate_cm(self) -> Within[_Value]:
        return Within(self._make, self._written, self._instead)

    def __enter__(self) -> _Value:
        self.__class__ = Within
        if self._block is not None:  # of another thread, it may be
            line = self._filled(self._written)
            raise RuntimeError(f"{line}: got it for a second block; allowed: one, and {line} written anew for the next")
        self._block = self._make()
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        return cast(AbstractContextManager[_Value], self._block).__exit__(*error)

    def _filled(self, text: str) -> str:
        named = [f"{name}={value!r}" for name, value in self._make.keywords.items()]
        return text.format(", ".join([*map(repr, self._make.args), *named]))

    def __repr__(self) -> str:
        return self._filled(f"<with {self._written}: ...>")


class _Unused(Within[_Value]):
    """One that nothing was done with yet: ``fc.precision("fast")`` alone on a line would choose nothing, silently."""

    def __del__(self) -> None:
        frame = sys._getframe().f_back
        # Not one that an interrupt, or a program's end, leaves unused.
        if frame is None or frame.f_code.co_code[frame.f_lasti] != _THROWN_AWAY:
            return
        line = self._filled(self._written)
        warnings.warn(
            f"{line}: got it without a block, where it does nothing; allowed: `with {line}:`"
            f"{self._filled(self._instead)}",
            stacklevel=2,
        )
