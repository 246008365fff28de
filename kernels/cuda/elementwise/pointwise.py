"""Pointwise functions and their gradients, elementwise; bound by memory, one pass."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import flat, typed


def activate(device, activation, x, *, out):
    """One of the pointwise functions."""
    _run(device, f"{activation.name}_forward", (x, out), activation.values)


def activate_backward(device, activation, grad_output, saved, *, out):
    """Gradient of `activate`."""
    _run(device, f"{activation.name}_gradient", (grad_output, saved, out), activation.values)


def _run(device, name, arrays, parameters):
    """Launch ``name(*arrays, size, a, b)``; the last array is the result, and a parameter that is none is 0."""
    x = arrays[0]
    if x.size:
        grid, block = flat(device, x.size, x.dtype)
        a, b = map(x.dtype.type, (*parameters, 0, 0)[:2])
        device.launch(typed("pointwise.cu", name, x.dtype), grid, block, (*arrays, np.int64(x.size), a, b))
