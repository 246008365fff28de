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
    """Return an array, or nested lists of numbers, as NumPy's; one of NumPy comes back as it is where it can."""
    unmasked(array, name)
    try:
        found: np.ndarray = np.asarray(array, dtype)
    except (TypeError, ValueError, OverflowError) as error:  # lists of unequal lengths, words, numbers beyond the type
        raise ArgumentError(
            f"{name}: got {array!r:.100} ({error}); allowed: numbers, in an array or in nested lists of equal lengths"
        ) from error
    return found


def computable(array: Any, dtype: Any = None) -> np.ndarray:
    """Return `on_host`'s array as kernels take it: contiguous, aligned, writable, in the machine's order of bytes."""
    found = on_host(array, dtype)
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    return np.require(found, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])
