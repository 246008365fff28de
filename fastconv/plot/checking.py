"""What pictures are made of, checked before anything is drawn: each message names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fastconv import _validate as validate
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, DTypeError, ShapeError


class Recorded(Protocol):
    """What of a `fastconv.training.History` is drawn."""

    history: dict[str, list[float]]


def by_name(given: Any, name: str, allowed: str = "at least one, by name") -> dict[Any, Any]:
    """Return a mapping that holds something as a dict."""
    if not isinstance(given, Mapping):
        raise ArgumentError(f"{name}: got {validate.kind_of(given)}; allowed: a dict, {allowed}")
    if not given:
        raise ArgumentError(f"{name}: got none; allowed: {allowed}")
    return dict(given)


def listed(given: Any, name: str, allowed: str) -> list[Any]:
    """Return a sequence as a list; neither a text nor a mapping is one."""
    try:
        found = None if isinstance(given, str | bytes | Mapping) else list(given)
    except TypeError:
        found = None
    if found is None:
        raise ArgumentError(f"{name}: got {validate.kind_of(given)}; allowed: {allowed}")
    return found


def has(given: Any, name: str, attributes: Sequence[str], allowed: str) -> Any:
    """Return an object that has these attributes; a class is none."""
    if isinstance(given, type) or not all(hasattr(given, each) for each in attributes):
        raise ArgumentError(f"{name}: got {validate.kind_of(given)}; allowed: {allowed}")
    return given


def function(given: Any, name: str, allowed: str) -> Any:
    """Return what can be called."""
    if not callable(given):
        raise ArgumentError(f"{name}: got {validate.kind_of(given)}; allowed: {allowed}")
    return given


def history_of(run: Any, name: str) -> Mapping[str, Sequence[float]]:
    """Return the lists of a `History`."""
    found = getattr(run, "history", None)
    if not isinstance(found, Mapping):
        raise ArgumentError(f"{name}: got {validate.kind_of(run)}; allowed: a History, as fit returns it")
    return {str(key): values for key, values in found.items()}


_MOST = 1e300  # past it the axes' own arithmetic ends: ranges, margins and ticks


def numbers(values: Any, name: str) -> np.ndarray:
    """Return a sequence of numbers as float64; some may not be finite, and what is too large to draw is not."""
    try:
        found = np.asarray(values)
    except ValueError:  # sequences of several lengths
        found = np.asarray(None)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "biuf"):
        raise ArgumentError(f"{name}: got {validate.shown(values)}; allowed: a sequence of numbers")
    return drawable(found).astype(np.float64)


def drawable(values: np.ndarray, most: float = _MOST) -> np.ndarray:
    """Return numbers, of which those that are too large for axes are infinite."""
    if values.dtype.kind != "f" or float(np.finfo(values.dtype).max) < most:
        return values
    return np.where(np.abs(values) > most, np.copysign(values.dtype.type(np.inf), values), values)


def in_single(values: np.ndarray) -> np.ndarray:
    """Return numbers as float32, of which those that are too large for a scale of colours are infinite."""
    return drawable(values, 1e37).astype(np.float32)


def need_finite(values: Iterable[np.ndarray], name: str) -> None:
    """Refuse values of which none is finite: their picture would be empty."""
    if not any(np.isfinite(each).any() for each in values):
        raise ArgumentError(f"{name}: got no finite value; allowed: at least one")


def interval(given: Any, name: str) -> tuple[float, float]:
    """Return a low end and a higher one."""
    ends = listed(given, name, "a low end and a higher one")
    if len(ends) == 2:
        low, high = (validate.number(end, name, low=-_MOST, high=_MOST) for end in ends)
        if low < high:
            return low, high
    raise ArgumentError(f"{name}: got {validate.shown(given)}; allowed: a low end and a higher one")


def on_host(array: Array, name: str, ndim: int | tuple[int, ...]) -> np.ndarray:
    """Return an array of any backend as NumPy's, with the number of axes that is asked for and a finite value in it."""
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    axes = " or ".join(map(str, allowed))
    try:
        values = np.asarray(get_backend().to_numpy(array) if hasattr(array, "dtype") else array)
    except ValueError as error:
        raise ShapeError(f"{name}: got rows of several lengths; allowed: {axes} axes, and something in it") from error
    if values.dtype.kind not in "biuf":
        kind = values.dtype if values.ndim and values.dtype.kind != "O" else validate.kind_of(array)
        inside = f" of {validate.kind_of(values.flat[0])}" if values.ndim and values.dtype.kind == "O" else ""
        raise DTypeError(f"{name}: got {kind}{inside}; allowed: an array of numbers")
    if values.ndim not in allowed or not values.size:
        raise ShapeError(f"{name}: got shape {values.shape}; allowed: {axes} axes, and something in it")
    values = drawable(values)
    need_finite((values,), name)
    return values


def images_of(array: Array, name: str) -> np.ndarray:
    """Return (N, H, W) or (N, H, W, C) images, of one channel or three."""
    values = on_host(array, name, (3, 4))
    if values.ndim == 4 and values.shape[3] not in (1, 3):
        raise ShapeError(f"{name}: got shape {values.shape}; allowed: images of 1 channel or 3")
    return values


def class_names(names: Any, count: int) -> list[str]:
    """Return the names of so many classes, by default their numbers."""
    return list(map(str, range(count) if names is None else listed(names, "names", "a sequence of names, or None")))
