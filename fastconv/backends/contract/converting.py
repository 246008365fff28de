"""What a user hands over as numbers, as a NumPy array: the same for all backends, whose `asarray` begins with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DTypeError


def unmasked(value: Any, name: str) -> None:
    """Refuse a masked array: no backend computes with masks."""
    if isinstance(value, np.ma.MaskedArray):
        raise DTypeError(f"{name}: got a masked array, whose mask would be lost; allowed: an array without a mask")


def on_host(array: Any, dtype: Any = None, name: str = "array") -> np.ndarray:
    """Return an array, or nested lists of numbers, as NumPy's; one of NumPy comes back as it is where it can.

    NumPy would drop imaginary parts, and read words and dates as numbers, where a type is asked for.
    """
    unmasked(array, name)
    try:
        if dtype is not None and hasattr(array, "dtype"):
            array = np.asarray(array)
            if array.dtype.kind in "cSUMm" and np.dtype(dtype).kind in "biuf":
                raise DTypeError(f"{name}: got {array.dtype}; allowed: numbers that {np.dtype(dtype)} holds")
        found: np.ndarray = np.asarray(array, dtype)
    except DTypeError:
        raise
    # Lists of unequal lengths, words, numbers beyond the type; a tensor of PyTorch that asks for its gradient.
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ArgumentError(
            f"{name}: got {array!r:.100} ({error}); allowed: numbers, in an array or in nested lists of equal lengths"
        ) from error
    if found.dtype.hasobject:
        raise ArgumentError(
            f"{name}: got {array!r:.100}; allowed: numbers, in an array or in nested lists of equal lengths"
        )
    return found


def computable(array: Any, dtype: Any = None) -> np.ndarray:
    """Return `on_host`'s array as kernels take it: contiguous, aligned, writable, in the machine's order of bytes."""
    found = on_host(array, dtype)
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    return np.require(found, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])
