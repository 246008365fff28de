"""Arrays that are mostly zero, as files keep them: a bit for each element, and the elements that are not zero.

An array of n float32 elements, m of them not zero, takes n / 8 + 4 m bytes instead of 4 n: 28 % of them with three
quarters pruned, 8 % with 95 % pruned. A negative zero is kept, so that what is read has the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.errors import CheckpointError

_BITS, _VALUES = "/bits", "/values"


def pack(tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, list[int]]]:
    """Return arrays to store, those that take less space so being packed, and the shapes of these by name."""
    stored: dict[str, np.ndarray] = {}
    shapes: dict[str, list[int]] = {}
    for name, array in tensors.items():
        flat = np.ascontiguousarray(array).reshape(-1)
        kept = flat.view(f"u{flat.dtype.itemsize}") != 0
        values, bits = flat[kept], np.packbits(kept)
        if values.nbytes + bits.nbytes < flat.nbytes:
            shapes[name] = list(array.shape)
            stored |= {name + _BITS: bits, name + _VALUES: values}
        else:
            stored[name] = array
    return stored, shapes


def unpack(file: str, stored: Mapping[str, np.ndarray], manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays that `pack` was given, of a file whose metadata are `manifest`."""
    tensors = dict(stored)
    packed = manifest.get("sparse", {})
    if not isinstance(packed, dict) or not all(map(_is_shape, packed.values())):
        raise CheckpointError(f"path: got {file!r}, whose list of packed arrays is none; allowed: an intact file")
    for name, shape in packed.items():
        bits, values = (tensors.pop(name + part, None) for part in (_BITS, _VALUES))
        size = math.prod(shape)
        kept = np.zeros(0, bool) if bits is None or bits.dtype != np.uint8 else np.unpackbits(bits).astype(bool)
        if values is None or not size <= kept.size < size + 8 or np.count_nonzero(kept[:size]) != values.size:
            raise CheckpointError(
                f"path: got {file!r}, whose {name!r} is not packed as it says; allowed: an intact file"
            )
        array = np.zeros(size, values.dtype)
        array[kept[:size]] = values
        tensors[name] = array.reshape(shape)
    return tensors


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
