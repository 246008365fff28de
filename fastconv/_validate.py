"""Checks of the arguments of `fastconv.functional`; each error names the argument, what came and what is allowed."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastconv._nearest import nearest
from fastconv._shapes import as_int
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.converting import unmasked
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, ShapeError
from fastconv.kernels.scalars import Scalar

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floating(backend: Backend, value: Any, name: str, axes: str | None = None) -> Array:
    """Return `value` as a C-contiguous float32 or float64 array of `backend`.

    `axes` says how many axes it must have, as it is shown to the user: ``"(N, H, W, C) or (N, C)"``.
    """
    usual = type(value) is np.ndarray and backend.on_host and value.flags.carray and value.dtype in FLOATS
    if not usual:
        owned(backend, value, name)
        dtype = value.dtype if value.dtype.isnative else value.dtype.newbyteorder("=")
        if dtype not in FLOATS:
            raise DTypeError(f"{name}: got {dtype}; allowed: float32 or float64 ({_advice(name, dtype)})")
    has_axes(value, name, axes)
    return value if usual else backend.asarray(value)


def like(backend: Backend, value: Any, name: str, model: Array, model_name: str, axes: str | None = None) -> Array:
    """Return `value` as `floating` does; it must have the dtype of `model`."""
    array = floating(backend, value, name, axes)
    if array.dtype != model.dtype:
        raise DTypeError(f"{name}: got {array.dtype}; allowed: {model.dtype}, the dtype of {model_name}")
    return array


def integer(backend: Backend, value: Any, name: str, axes: str) -> Array:
    """Return `value` as a C-contiguous array of integers of `backend`."""
    owned(backend, value, name)
    if value.dtype.kind not in "iu":
        raise DTypeError(f"{name}: got {value.dtype}; allowed: an integer type")
    has_axes(value, name, axes)
    return backend.asarray(value)


def labels(backend: Backend, value: Any, name: str, *, batch: int, classes: int, ignored: int | None = None) -> Array:
    """Return `value` as a (batch,) int32 array of class numbers, or of `ignored`; the look at them synchronises."""
    array = labels_unseen(backend, value, name, batch=batch)
    host = backend.to_numpy(backend.asarray(value))
    host = host if ignored is None else host[host != ignored]
    if host.size and not (host.min() >= 0 and host.max() < classes):
        wrong = host.min() if host.min() < 0 else host.max()
        other = "" if ignored is None else f", and {ignored}, which is left out"
        raise ArgumentError(f"{name}: got {wrong}; allowed: class numbers from 0 to {classes - 1}{other}")
    return array


def labels_unseen(backend: Backend, value: Any, name: str, *, batch: int) -> Array:
    """Return `value` as `labels` does, without a look at the values."""
    array = integer(backend, value, name, "(N,)")
    has_shape(array, name, (batch,), "one for each row of logits")
    return backend.asarray(array, np.int32)


def within(array: np.ndarray, name: str, low: float, high: float) -> None:
    """Refuse an array of the host with a value below `low` or above `high`, or one that is not finite."""
    if array.size and not (array.min() >= low and array.max() <= high and array.max() < math.inf):
        wrong = array[~((array >= low) & (array <= high) & np.isfinite(array))].flat[0]
        limits = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ArgumentError(f"{name}: got {wrong:g}; allowed: finite numbers, {limits}")


def owned(backend: Backend, value: Any, name: str) -> None:
    """Refuse what is no array of `backend`."""
    if backend.owns(value):
        unmasked(value, name)
        return
    home = _home(value)
    if home is None:
        raise DTypeError(
            f"{name}: got {kind_of(value)}; allowed: an array of the backend {backend.name!r}"
            f" (use fastconv.asarray({_variable(name)}))"
        )
    raise BackendMismatchError(
        f"{name}: got an array of the backend {home!r}; allowed: one of the active backend {backend.name!r}"
        f" (use fastconv.asarray({_variable(name)}), or fastconv.set_backend({home!r}))"
    )


def has_axes(array: Array, name: str, axes: str | None) -> None:
    """Refuse an array of another number of axes."""
    if axes is not None and array.ndim not in _ranks(axes):
        raise ShapeError(f"{name}: got shape {tuple(array.shape)}; allowed: {axes}")


@functools.cache
def _ranks(axes: str) -> tuple[int, ...]:
    return tuple(len(part.strip("(),").split(",")) for part in axes.split(" or "))


def has_shape(array: Array, name: str, shape: Shape, reason: str) -> None:
    """Refuse an array of another shape."""
    if tuple(array.shape) != tuple(shape):
        raise ShapeError(f"{name}: got shape {tuple(array.shape)}; allowed: {tuple(shape)}, {reason}")


def has_dtype(array: Array, name: str, dtype: np.dtype[Any], reason: str) -> None:
    """Refuse an array of another dtype."""
    if array.dtype != dtype:
        raise DTypeError(
            f"{name}: got {array.dtype}; allowed: {dtype}, {reason} (use {_variable(name)}.astype('{dtype}'))"
        )


def not_empty(shape: Shape, name: str, *, but_first: bool = True) -> None:
    """Refuse a shape with an empty axis; the first, the batch, may be empty if `but_first`."""
    if 0 in shape[1 if but_first else 0 :]:
        allowed = "no empty axis but the first, the batch" if but_first else "no empty axis"
        raise ShapeError(f"{name}: got shape {tuple(shape)}; allowed: {allowed}")


def as_shape(value: Sequence[int], name: str, axes: str) -> Shape:
    """Return `value` as a tuple of sizes, as many as `axes` names."""
    shape = _ints(value)
    if len(shape) not in _ranks(axes) or min(shape) < 0:
        raise ShapeError(f"{name}: got {shown(value)}; allowed: {axes} of ints, none negative")
    return shape


def floating_dtype(value: Any) -> np.dtype[Any]:
    """Return `value` as the dtype float32 or float64."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError:
        raise DTypeError(f"dtype: got {value!r}; allowed: float32 or float64") from None
    if dtype not in FLOATS:
        raise DTypeError(f"dtype: got {dtype}; allowed: float32 or float64")
    return dtype


def sizes(value: Any, name: str, allowed: str) -> Shape:
    """Return `value` as a tuple of one or more sizes, each at least 1."""
    shape = _ints(value)
    if not shape or min(shape) < 1:
        raise ShapeError(f"{name}: got {shown(value)}; allowed: {allowed}, each an int of at least 1")
    return shape


def _ints(value: Any) -> Shape:
    """Return the ints in `value`, none if it holds anything else."""
    try:
        return tuple(map(as_int, value))
    except TypeError:
        return ()


def truth(value: Any, name: str, allowed: str = "True, False") -> bool:
    """Return `value`, which is True or False: any other would count as True, the text "False" too."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name}: got {shown(value)}; allowed: {allowed}")
    return bool(value)


def instance(value: Any, kind: Any, name: str, allowed: str) -> Any:
    """Return `value`, which is of a class, or of a union of classes."""
    if not isinstance(value, kind):
        raise ArgumentError(f"{name}: got {shown(value)}; allowed: {allowed}")
    return value


def one_of(value: Any, name: str, allowed: Iterable[str]) -> Any:
    """Return `value`, one of the words `allowed`."""
    words = tuple(allowed)
    if isinstance(value, str) and value in words:
        return value
    raise ArgumentError(
        f"{name}: got {shown(value)}; allowed: {', '.join(map(repr, words))}{nearest(value, words, 0.5)}"
    )


def kind_of(value: Any) -> str:
    """Return what a message calls something of a wrong kind: its class, or which class it is."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def shown(value: Any) -> str:
    """Return how a message shows something of a wrong kind, short and in one line, or which class it is."""
    return kind_of(value) if isinstance(value, type) else re.sub(r"\n\s*", " ", f"{value!r:.100}")


def at_least_one(value: Any, name: str) -> int:
    """Return `value` as an int of at least 1."""
    return at_least(value, 1, name)


def at_least_one_or_none(value: Any, name: str) -> int | None:
    """Return `value` as `at_least_one` does; None as it is."""
    return None if value is None else at_least_one(value, name)


def at_least(value: Any, minimum: int, name: str, maximum: float = math.inf) -> int:
    """Return `value` as an int from `minimum` to `maximum`."""
    try:
        number = as_int(value)
    except TypeError:
        number = minimum - 1
    if not minimum <= number <= maximum:
        allowed = f"of at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
        raise ArgumentError(f"{name}: got {shown(value)}; allowed: an int {allowed}")
    return number


_NO_NUMBERS = (str, bytes, bytearray, bool, np.bool_)


def number(value: Any, name: str, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False) -> float:
    """Return `value` as a finite float, at least `low` (above it if `open_low`) and below `high`.

    A text is none; nor are True and False, which would count as 1 and 0.
    """
    try:
        result = math.nan if isinstance(value, _NO_NUMBERS) else float(value)
    except (TypeError, ValueError, OverflowError):  # of an int past all floats
        result = math.nan
    if math.isfinite(result) and (result > low if open_low else result >= low) and result < high:
        return result
    limits = [f"{'above' if open_low else 'at least'} {low:g}"] if math.isfinite(low) else []
    limits += [f"below {high:g}"] if math.isfinite(high) else []
    raise ArgumentError(
        f"{name}: got {shown(value)}; allowed: a finite number{' ' * bool(limits)}{' and '.join(limits)}"
    )


def scalar(value: Any, declared: Scalar) -> float | bool:
    """Return `value` as `declared` asks for it: as `number` does, or as a bool."""
    if isinstance(declared.default, bool):
        return truth(value, declared.name)
    return number(value, declared.name, low=declared.low, high=declared.high, open_low=declared.open_low)


def _variable(name: str) -> str:
    """Return what the array in "x of train" is called in a program."""
    return name.partition(" of ")[0]


def _advice(name: str, dtype: np.dtype[Any]) -> str:
    if dtype == np.float16:
        return f"float16 has no arithmetic on the CPU: use {_variable(name)}.astype('float32')"
    if dtype == np.uint8 and name.startswith("x"):
        return f"images of bytes go through fastconv.data.DataLoader, or {_variable(name)}.astype('float32') / 255"
    if dtype.kind in "iub":
        return f"use {_variable(name)}.astype('float32')"
    return f"no other type is computed with: convert {name} first"


def _home(value: Any) -> str | None:
    """Name of the backend whose arrays `value` is one of, or None."""
    if isinstance(value, np.ndarray):
        return "numpy"
    return "cupy" if type(value).__module__.partition(".")[0] == "cupy" else None
