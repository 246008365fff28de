"""Rows of arrays, in parts or gathered."""

from __future__ import annotations

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array


def bounds(rows: int, parts: int) -> list[tuple[int, int]]:
    """Return begin and end of each part of so many rows; sizes differ by one at most."""
    return [(rows * i // parts, rows * (i + 1) // parts) for i in range(parts)]


def take_rows(backend: Backend, array: Array, indices: Array) -> Array:
    """Return the rows of `array` at `indices`, both of the backend, as a new array."""
    if not backend.on_host:
        return array[indices]
    rows = backend.empty((len(indices), *array.shape[1:]), array.dtype)
    np.take(array, indices, axis=0, out=rows, mode="clip")  # "raise", the default, goes through a copy of `out`
    return rows
