"""Rows of arrays, in order or gathered."""

from __future__ import annotations

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array


def take_rows(backend: Backend, array: Array, indices: Array) -> Array:
    """Return the rows of `array` at `indices`, both of the backend, as a new array."""
    if not backend.on_host:
        return array[indices]
    rows = backend.empty((len(indices), *array.shape[1:]), array.dtype)
    np.take(array, indices, axis=0, out=rows, mode="clip")  # "raise", the default, goes through a copy of `out`
    return rows
