"""Pointwise functions and their gradients, elementwise; bound by memory, one pass."""

from __future__ import annotations

import numpy as np

from ...pointwise import POINTWISE
from ..runtime.grids import flat, typed

_NUMBERS = {name: 1 + place for place, name in enumerate(POINTWISE)}


def activate(device, activation, x, *, out):
    """One of the pointwise functions."""
    _run(device, "forward", activation, x, out)


def activate_backward(device, activation, grad_output, saved, *, out):
    """Gradient of `activate`."""
    _run(device, "gradient", activation, grad_output, saved, out)


def numbered(activation, dtype):
    """Return what tells a kernel with all functions which to apply: parameters and number, 0 for none."""
    if activation is None:
        return dtype.type(0), dtype.type(0), np.int32(0)
    return *_parameters(activation, dtype), np.int32(_NUMBERS[activation.name])


def _parameters(activation, dtype):
    """Return both parameters; one that is none is 0."""
    return map(dtype.type, (*activation.values, 0, 0)[:2])


def _run(device, kind, activation, x, *arrays):
    """Launch ``name_kind(x, *arrays, size, a, b)``; the last array is the result."""
    if x.size:
        grid, block = flat(device, x.size, x.dtype)
        kernel = typed("pointwise.cu", f"{activation.name}_{kind}", x.dtype)
        device.launch(kernel, grid, block, (x, *arrays, np.int64(x.size), *_parameters(activation, x.dtype)))
