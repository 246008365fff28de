"""The pickled layout of CIFAR-10 and CIFAR-100, read without trusting it.

A pickle is a program: it may call whatever it can import. Here it can import five names, and each of them stands for a
small class or function of this file, so that neither foreign code nor NumPy's own unpickling sees the bytes before they
are checked.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import DataError


class _DType:
    """Stands for `numpy.dtype`: integers only."""

    def __init__(self, spec: str | bytes, *_: Any) -> None:
        text = spec.decode("latin1") if isinstance(spec, bytes) else spec
        if not isinstance(text, str) or not re.fullmatch(r"[ui][1248]", text):
            raise pickle.UnpicklingError(f"array of type {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        order: Any = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for `numpy.ndarray` and for the function that makes an empty one."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes) or fortran_order:
            raise pickle.UnpicklingError("array that is not of integers in C order")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise pickle.UnpicklingError(f"array of shape {shape!r}")
        if math.prod(shape) * dtype.dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"array of shape {shape} with {len(data)} bytes")
        self.value = np.frombuffer(data, dtype.dtype).reshape(shape)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand for `_codecs.encode`, with which Python 3 writes bytes into old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"the name {module}.{name}")
        return _ALLOWED[module, name]


def read_pickled_batch(path: Path, label_key: str, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays ``data`` and `label_key` of a pickled batch of at most `largest` bytes.

    Raises
    ------
    DataError
        The file is damaged, or holds anything but integer arrays and plain containers.
    """
    if path.stat().st_size > largest:
        raise DataError(f"{path}: got {path.stat().st_size:,} bytes; allowed: at most {largest:,}")
    try:
        with path.open("rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path}: got {error or type(error).__name__}; allowed: a pickle of integer arrays and plain containers"
        ) from error
    return _array(path, batch, "data"), _array(path, batch, label_key)


def _array(path: Path, batch: Any, key: str) -> np.ndarray:
    if not isinstance(batch, dict):
        raise DataError(f"{path}: got a {type(batch).__name__}; allowed: a dict of arrays")
    value = batch.get(key, batch.get(key.encode()))
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, list) and all(type(item) is int and abs(item) < 2**31 for item in value):
        return np.array(value, np.int64)
    raise DataError(f"{path}: got {type(value).__name__} for {key!r}; allowed: an integer array or a list of ints")
