"""Sums, multiples, copies of flat arrays; bound by memory, one pass."""

from __future__ import annotations

import numpy as np

from ..runtime.device import Kernel
from ..runtime.grids import flat, typed


def add(device, a, b, *, out):
    """Sum of two arrays."""
    if a.size:
        grid, block = flat(device, a.size, a.dtype)
        device.launch(typed("elementwise.cu", "add_arrays", a.dtype), grid, block, (a, b, out, np.int64(a.size)))


def scale(device, x, *, factor, out):
    """Multiple of an array."""
    if x.size:
        grid, block = flat(device, x.size, x.dtype)
        arguments = (x, out, np.int64(x.size), x.dtype.type(factor))
        device.launch(typed("elementwise.cu", "scale_array", x.dtype), grid, block, arguments)


def copy(device, x, *, out):
    """Copy of an array, of any type."""
    if x.size:
        grid, block = flat(device, x.size, x.dtype)
        device.launch(_words("copy_array", x.dtype), grid, block, (x, out, np.int64(x.size)))


def fill(device, value, *, out):
    """One value everywhere, in any type."""
    if out.size:
        grid, block = flat(device, out.size, out.dtype)
        word = np.array(value, out.dtype).view(f"u{out.dtype.itemsize}")[()]
        device.launch(_words("fill_array", out.dtype), grid, block, (out, np.int64(out.size), np.uint64(word)))


def _words(name, dtype):
    return Kernel("words.cu", name, (("BYTES", dtype.itemsize),))
