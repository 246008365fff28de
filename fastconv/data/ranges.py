"""Ranges that augmentations draw from: what they may be, and numbers within them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError


def whole_number(draw: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return whole numbers from `low` to `high`, each as likely as the others."""
    numbers: np.ndarray = np.floor(draw * (high - low + 1)) + low
    return numbers


def within(draw: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Return numbers of a range, all as likely."""
    return ends[0] + draw * (ends[1] - ends[0])


def ends_of(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Return the ends of a range, of which one number stands for both signs."""
    try:
        ends = value if isinstance(value, tuple | list) else (value, value)
        first, last = (validate.number(end, name) for end in ends)
        first = first if ends is value else -last
    except ValueError:  # an end is no number, or there are not two
        first = last = math.nan
    if not low <= first <= last <= high:
        within = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of at least {low:g}" * math.isfinite(low)
        raise ArgumentError(f"{name}: got {value!r}; allowed: numbers{within}, one or a pair, the lower first")
    return first, last


def pair_of(value: Any, name: str) -> tuple[Any, Any]:
    """Return the two that a pair is of."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentError(f"{name}: got {value!r}; allowed: a pair of numbers")
    return value[0], value[1]


def share_of(value: Any, name: str) -> None:
    """Refuse what is no number from 0 to 1."""
    if not validate.number(value, name, low=0) <= 1:
        raise ArgumentError(f"{name}: got {value!r}; allowed: a number from 0 to 1")
