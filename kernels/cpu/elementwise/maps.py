"""Elementwise operations on flat arrays: bound by memory, one pass each.

A task is a chunk of 64 KB; whole vectors, then one part of a vector. Large results go past the caches.
x, a, b and out are (elements,); of a copy they are (bytes,).
"""

import numpy as np

from ..runtime.compiler import OwnKernel
from ..runtime.declared import refuse_unlike
from ..runtime.launch import device, kernel, launch
from ..vector.memory import TASK_ELEMENTS, streams
from ..vector.simd import address, itemsize, lanes, vload, vload_part, vsplat, vstore, vstore_part, vstore_stream

TASK_BYTES = 65536  # of a copy


@device
def _put(place, value, stream):
    if stream:
        vstore_stream(place, value)
    else:
        vstore(place, value)


def make_unary(name, operation):
    """Make the kernel of ``out = operation(x, parameters, dtype)`` on vectors; `name` is that of the cache file."""

    def unary(begin, end, x, parameters, out, stream):
        dt = x.dtype
        size = itemsize(dt)
        width = lanes(dt)
        stop = min(end * TASK_ELEMENTS, x.size)
        whole = begin * TASK_ELEMENTS + (stop - begin * TASK_ELEMENTS) // width * width
        for i in range(begin * TASK_ELEMENTS, whole, width):
            _put(address(out) + i * size, operation(vload(address(x) + i * size, dt), parameters, dt), stream)
        if whole < stop:
            last = operation(vload_part(address(x) + whole * size, stop - whole, dt), parameters, dt)
            vstore_part(address(out) + whole * size, last, stop - whole)

    unary.__name__ = name
    return kernel(unary)


def make_binary(name, operation):
    """Make the kernel of ``out = operation(a, b, parameters, dtype)`` on vectors."""

    def binary(begin, end, a, b, parameters, out, stream):
        dt = a.dtype
        size = itemsize(dt)
        width = lanes(dt)
        stop = min(end * TASK_ELEMENTS, a.size)
        whole = begin * TASK_ELEMENTS + (stop - begin * TASK_ELEMENTS) // width * width
        for i in range(begin * TASK_ELEMENTS, whole, width):
            left, right = vload(address(a) + i * size, dt), vload(address(b) + i * size, dt)
            _put(address(out) + i * size, operation(left, right, parameters, dt), stream)
        if whole < stop:
            left = vload_part(address(a) + whole * size, stop - whole, dt)
            right = vload_part(address(b) + whole * size, stop - whole, dt)
            vstore_part(address(out) + whole * size, operation(left, right, parameters, dt), stop - whole)

    binary.__name__ = name
    return kernel(binary)


def run_unary(function, x, out, parameters=()):
    """Launch a kernel of `make_unary`; `parameters` is a tuple of numbers."""
    if type(function) is OwnKernel:
        refuse_unlike(function, out, x=x)
        x = np.ascontiguousarray(x)  # of one axis with steps `reshape` makes no copy
    launch(function, -(-x.size // TASK_ELEMENTS), x.reshape(-1), parameters, out.reshape(-1), streams(out, x))


def run_binary(function, a, b, out, parameters=()):
    """Launch a kernel of `make_binary`; `parameters` is a tuple of numbers."""
    if type(function) is OwnKernel:
        refuse_unlike(function, out, a=a, b=b)
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    flat = (a.reshape(-1), b.reshape(-1), parameters, out.reshape(-1))
    launch(function, -(-a.size // TASK_ELEMENTS), *flat, streams(out, a, b))


@device
def _add(a, b, p, dt):
    return a + b


@device
def _scale(x, p, dt):
    return x * vsplat(p[0], dt)


add_arrays = make_binary("add_arrays", _add)
scale_array = make_unary("scale_array", _scale)


@kernel
def fill_array(begin, end, word, out):
    """Chunks of unsigned words."""
    dt = out.dtype
    size = itemsize(dt)
    width = lanes(dt)
    value = vsplat(word, dt)
    stop = min(end * TASK_ELEMENTS, out.size)
    whole = begin * TASK_ELEMENTS + (stop - begin * TASK_ELEMENTS) // width * width
    for i in range(begin * TASK_ELEMENTS, whole, width):
        vstore(address(out) + i * size, value)
    for i in range(whole, stop):
        out[i] = word


@kernel
def copy_array(begin, end, x, out):
    """Chunks of bytes."""
    dt = x.dtype
    width = lanes(dt)
    stop = min(end * TASK_BYTES, x.size)
    whole = begin * TASK_BYTES + (stop - begin * TASK_BYTES) // width * width
    for i in range(begin * TASK_BYTES, whole, width):
        vstore(address(out) + i, vload(address(x) + i, dt))
    for i in range(whole, stop):
        out[i] = x[i]


def add(a, b, *, out):
    """Sum of two arrays."""
    run_binary(add_arrays, a, b, out)


def scale(x, *, factor, out):
    """Multiple of an array."""
    run_unary(scale_array, x, out, (float(factor),))


def copy(x, *, out):
    """Copy of an array, of any type."""
    launch(copy_array, -(-x.nbytes // TASK_BYTES), x.reshape(-1).view(np.uint8), out.reshape(-1).view(np.uint8))


def fill(value, *, out):
    """One value everywhere, in any type."""
    words = f"u{out.itemsize}"
    word = np.array(value, out.dtype).view(words)[()]
    launch(fill_array, -(-out.size // TASK_ELEMENTS), word, out.reshape(-1).view(words))
