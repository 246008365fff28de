"""The words of options: each function reads one, or says what is allowed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from fastconv.cli.choices import MODELS
from fastconv.errors import ArgumentError
from fastconv.training import named, toml


def name_or_setting(kind: str) -> Callable[[str], str | tuple[str, Any]]:
    """Return what reads the name of a part of some kind, or SETTING=VALUE."""

    def read(text: str) -> str | tuple[str, Any]:
        key, equals, value = text.partition("=")
        if equals and key.isidentifier():
            return key, _value(value)
        try:
            return named.canonical(kind, text)
        except ArgumentError as error:
            raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from error

    return read


def setting(text: str) -> tuple[str, Any]:
    """Return name and value of SETTING=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: SETTING=VALUE, such as target=0.9")
    return key, _value(value)


def place(text: str) -> tuple[str, Any]:
    """Return the place in a recipe, and the value for it, of TABLE.SETTING=VALUE."""
    key, equals, value = text.partition("=")
    if not equals or "." not in key or not all(key.split(".")):
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: TABLE.SETTING=VALUE, such as optimizer.eps=1e-6")
    return key, _value(value)


def _value(text: str) -> Any:
    """Return a value as a recipe writes it, or True, False and tuples, with parentheses or not, as Python does."""
    found = {"True": True, "False": False}.get(text, toml.value(text))
    if found == text and "," in text:
        several = toml.value(f"[{text.removeprefix('(').removesuffix(')')}]")
        return several if isinstance(several, list) else text
    return found


def model(text: str) -> str:
    """Return the name of a model."""
    if text not in MODELS:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {', '.join(MODELS)}")
    return text


def path(text: str) -> str:
    """Return a path, with the folder of a user for ``~``, which a shell leaves in ``--output=~/x``."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a path")
    return os.path.expanduser(text)


def positive(text: str) -> int:
    """Return a whole number from 1."""
    return _whole(text, 1)


def side(text: str) -> int:
    """Return the side of an image."""
    return _whole(text, 1, 2**16)


def not_negative(text: str) -> int:
    """Return a whole number from 0."""
    return _whole(text, 0)


def _whole(text: str, minimum: int, maximum: int = 2**31 - 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        shown = text if len(text) < 40 else f"{text[:40]}..."
        raise argparse.ArgumentTypeError(f"got {shown!r}; allowed: a whole number from {minimum} to {maximum}")
    return number


def above_zero(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a number above 0")
    return number
