"""Elementwise operations on flat arrays: bound by memory, one pass each.

A task is a chunk of 64 KB; whole vectors, then one part of a vector.
"""

from .launch import device, kernel, launch
from .simd import address, itemsize, lanes, vload, vload_part, vsplat, vstore, vstore_part

CHUNK = 16384  # elements


def make_unary(name, operation):
    """Make the kernel of ``out = operation(x, parameter)`` on vectors; `name` is that of the cache file."""

    def unary(begin, end, x, parameter, out):
        dt = x.dtype
        size = itemsize(dt)
        width = lanes(dt)
        value = vsplat(parameter, dt)
        stop = min(end * CHUNK, x.size)
        whole = begin * CHUNK + (stop - begin * CHUNK) // width * width
        for i in range(begin * CHUNK, whole, width):
            vstore(address(out) + i * size, operation(vload(address(x) + i * size, dt), value, dt))
        if whole < stop:
            last = operation(vload_part(address(x) + whole * size, stop - whole, dt), value, dt)
            vstore_part(address(out) + whole * size, last, stop - whole)

    unary.__name__ = name
    return kernel(unary)


def make_binary(name, operation):
    """Make the kernel of ``out = operation(a, b, parameter)`` on vectors."""

    def binary(begin, end, a, b, parameter, out):
        dt = a.dtype
        size = itemsize(dt)
        width = lanes(dt)
        value = vsplat(parameter, dt)
        stop = min(end * CHUNK, a.size)
        whole = begin * CHUNK + (stop - begin * CHUNK) // width * width
        for i in range(begin * CHUNK, whole, width):
            left, right = vload(address(a) + i * size, dt), vload(address(b) + i * size, dt)
            vstore(address(out) + i * size, operation(left, right, value, dt))
        if whole < stop:
            left = vload_part(address(a) + whole * size, stop - whole, dt)
            right = vload_part(address(b) + whole * size, stop - whole, dt)
            vstore_part(address(out) + whole * size, operation(left, right, value, dt), stop - whole)

    binary.__name__ = name
    return kernel(binary)


def run_unary(function, x, out, parameter=0.0):
    """Launch a kernel of `make_unary`."""
    launch(function, -(-x.size // CHUNK), x.reshape(-1), parameter, out.reshape(-1))


def run_binary(function, a, b, out, parameter=0.0):
    """Launch a kernel of `make_binary`."""
    launch(function, -(-a.size // CHUNK), a.reshape(-1), b.reshape(-1), parameter, out.reshape(-1))


@device
def _add(a, b, parameter, dt):
    return a + b


@device
def _scale(x, factor, dt):
    return x * factor


add_arrays = make_binary("add_arrays", _add)
scale_array = make_unary("scale_array", _scale)


@kernel
def fill_array(begin, end, value, out):
    """One chunk a task."""
    stop = min(end * CHUNK, out.size)
    for i in range(begin * CHUNK, stop):
        out[i] = value


@kernel
def copy_array(begin, end, x, out):
    """One chunk a task."""
    stop = min(end * CHUNK, out.size)
    for i in range(begin * CHUNK, stop):
        out[i] = x[i]


def add(a, b, *, out):
    """Sum of two arrays."""
    run_binary(add_arrays, a, b, out)


def scale(x, *, factor, out):
    """Multiple of an array."""
    run_unary(scale_array, x, out, float(factor))


def copy(x, *, out):
    """Copy of an array, of any type."""
    launch(copy_array, -(-x.size // CHUNK), x.reshape(-1), out.reshape(-1))


def fill(value, *, out):
    """One value everywhere, in any type."""
    launch(fill_array, -(-out.size // CHUNK), out.dtype.type(value), out.reshape(-1))
