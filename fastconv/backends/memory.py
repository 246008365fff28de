"""The pool of the CPU backends: memory that was mapped once is used again.

A newly mapped 33 MB activation costs up to 10 ms of page faults, as much as its convolution. So a block that is given back
stays here, by size class, and the next array of that class takes it. A block goes back when the last array or view on it dies,
on whatever thread that happens; `collections.deque` makes both ends safe without a lock, which a finaliser must not take.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

_ALIGN = 64  # bytes: a cache line, and the widest vector


class _Block:
    """Owner of one block of memory; NumPy keeps it alive as the base of every view."""

    __slots__ = ("__array_interface__", "_buffer", "_free")

    def __init__(self, interface: dict[str, Any], buffer: np.ndarray, free: deque[np.ndarray]) -> None:
        self.__array_interface__ = interface
        self._buffer = buffer
        self._free = free

    def __del__(self) -> None:
        self._free.append(self._buffer)


def _size_class(nbytes: int) -> int:
    """Round up to four steps a power of two, so that at most a fifth of a block is idle."""
    if nbytes <= 4096:
        return max(_ALIGN, 1 << (nbytes - 1).bit_length()) if nbytes else _ALIGN
    step = 1 << ((nbytes - 1).bit_length() - 3)
    return -(-nbytes // step) * step


class Pool:
    """Pool of host memory.

    Attributes
    ----------
    misses : int
        How many blocks were newly allocated; constant in the steady state of a training loop.
    nbytes : int
        Bytes held, in use and idle.
    """

    def __init__(self) -> None:
        self._free: dict[int, deque[np.ndarray]] = {}
        self.misses = 0
        self.nbytes = 0

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an uninitialised C-contiguous array on a 64-byte boundary."""
        dtype = np.dtype(dtype)
        size = _size_class(math.prod(shape) * dtype.itemsize)
        free = self._free.get(size)
        if free is None:
            free = self._free.setdefault(size, deque())
        try:
            buffer = free.pop()
        except IndexError:
            self.misses += 1
            self.nbytes += size
            buffer = np.empty(size + _ALIGN, np.uint8)
        address = -(-buffer.ctypes.data // _ALIGN) * _ALIGN
        interface = {"shape": shape, "typestr": dtype.str, "data": (address, False), "version": 3}
        return np.asarray(_Block(interface, buffer, free))

    def trim(self) -> None:
        """Return the idle blocks to the system."""
        for size, free in list(self._free.items()):
            while free:
                try:
                    free.pop()
                except IndexError:
                    break
                self.nbytes -= size
