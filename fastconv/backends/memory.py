"""The pool of the CPU backends: memory that was mapped once is used again.

A newly mapped 33 MB activation costs up to 10 ms of page faults, as much as its convolution. So a block that is given
back stays here, by size class, and the next array of that class takes it. A block goes back when the last array or view
on it dies, on whatever thread that happens; `collections.deque` makes both ends safe without a lock, which a finaliser
must not take.

What is idle goes back to the system when it is asked for, when the system has no more, and where a new block is needed
while more than an eighth of the memory that this process may use is idle: other sizes than before are used then.
(Without a limit a process that trained one model after the other came to 15 GB.) Where as much is wanted again many
times, as in each step of a training whose arrays take more than that, twice as much may be idle from then on, up to
half of the memory, until it is asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

_ALIGN = 64  # bytes: a cache line, and the widest vector
_REGRETS = 16  # so often as much as may be idle is wanted again before that is more


def usable_memory(limits: Iterable[str | Path] | None = None) -> int:
    """Return the bytes of memory that this process may use: the machine's, or of its container, job or ``ulimit``.

    `limits` are files that say how many these are; None: those of its control groups.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    own = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    found += [each for each in own if each != resource.RLIM_INFINITY]
    for path in limit_files() if limits is None else limits:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)


def limit_files(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> Iterator[Path]:
    """Yield where limits of memory may stand: of the control groups, versions 2 and 1, and of those around them.

    `groups` tells which ones; a container sees its own at `root`.
    """
    try:
        lines = groups.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in ("0::/", "0:memory:/", *lines):
        _, kinds, group = line.split(":", 2)
        top, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        if not kinds or "memory" in kinds.split(","):
            place = top / group.strip("/")
            yield from (folder / name for folder in (place, *place.parents) if folder.is_relative_to(top))


def idle_limit() -> int:
    """Return the bytes that a backend keeps at most, beside what is in use, when it takes new ones."""
    return usable_memory() // 8


def _trim() -> None:
    """Let the C library give back what was freed: glibc keeps blocks below 32 MB, for later ones of its own."""
    with contextlib.suppress(AttributeError, OSError):  # of another one
        ctypes.CDLL(None).malloc_trim(0)


class _Memory(np.ndarray):
    """The base of a block in use, of which NumPy lets go once the block's weak references were told of its end.

    NumPy shortens a chain of bases as long as they are plain arrays; this one is not plain.
    """

    __slots__ = ("use",)
    use: _Use


class _Block(np.ndarray):
    """Owner of one block in use: the base of every array and view on it."""

    __slots__ = ()


class _Use(weakref.ref[_Block]):
    """Watches a block in use. When the last array on it dies, this is put into the list of free blocks.

    That is done by `deque.append` itself: a finaliser in Python would be a place where a KeyboardInterrupt gets lost.
    Nothing here points in a circle, so the memory of a pool that dies goes back at once, not when Python looks for
    circles (a look takes 0.16 s in a process that has compiled kernels).
    """

    __slots__ = ("raw",)
    raw: np.ndarray


def _size_class(nbytes: int) -> int:
    """Round up to four steps a power of two, so that at most a fifth of a block is idle."""
    if nbytes <= 4096:
        return max(_ALIGN, 1 << (nbytes - 1).bit_length()) if nbytes else _ALIGN
    step = 1 << ((nbytes - 1).bit_length() - 3)
    return -(-nbytes // step) * step


class Pool:
    """Pool of host memory.

    Parameters
    ----------
    most_idle : int or None
        Bytes beyond which all that is idle goes back before a new block is taken, up to four times as many if they are
        wanted again and again; None keeps everything, as what was captured needs it: its kernels know the addresses of
        arrays that Python has let go.
    spare : callable or None
        `release` of another one, whose idle memory goes back where the system has no more for one that keeps its own.

    Attributes
    ----------
    misses : int
        How many blocks were newly allocated; constant in the steady state of a training loop.
    nbytes : int
        Bytes held, in use and idle.
    """

    def __init__(self, most_idle: int | None = None, *, spare: Callable[[], int] | None = None) -> None:
        self._free: dict[int, deque[_Use]] = {}
        self._most_idle = self._asked_for = most_idle
        self._spare = spare
        self._gone: dict[int, int] = {}  # how many blocks of a size went back by themselves
        self._regretted = 0  # the bytes of those that were wanted again
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
            raw = free.pop().raw
        except (IndexError, AttributeError):  # the latter where an interrupt came below, before `raw` was set
            raw = self._allocate(size)
        memory = raw.view(_Memory)
        block = memory.view(_Block)
        use = _Use(block, free.append)
        use.raw, memory.use = raw, use
        return np.ndarray(shape, dtype, block)

    def _allocate(self, size: int) -> np.ndarray:
        if self._most_idle is not None:
            self._heed_limit(size, self._most_idle)
        try:
            room = np.empty(size + _ALIGN, np.uint8)
        except MemoryError:
            give_back = self._spare if self._most_idle is None else self.release
            if give_back is None or not give_back():
                raise
            room = np.empty(size + _ALIGN, np.uint8)
        self.misses += 1
        self.nbytes += size
        start = -room.ctypes.data % _ALIGN
        return room[start : start + size]

    def _heed_limit(self, size: int, most: int) -> None:
        """Give back what is idle where it is too much, and find out whether it was; a new block is needed."""
        if self.nbytes > most:
            idle = {each: len(free) for each, free in list(self._free.items()) if free}
            if sum(each * count for each, count in idle.items()) > most:
                for each, count in idle.items():
                    self._gone[each] = self._gone.get(each, 0) + count
                self._drop()
        count = self._gone.get(size, 0)
        if count:
            self._gone[size], self._regretted = count - 1, self._regretted + size
            if self._regretted > _REGRETS * most and most < 4 * (self._asked_for or 0):
                self._most_idle, self._gone, self._regretted = 2 * most, {}, 0

    def release(self) -> int:
        """Give all idle blocks back to the system; return how many bytes."""
        self._most_idle, self._gone, self._regretted = self._asked_for, {}, 0
        released = self._drop()
        _trim()  # also of what other pools, of captured steps, let go as they died
        return released

    def _drop(self) -> int:
        released = 0
        for size, free in list(self._free.items()):
            with contextlib.suppress(IndexError):
                while True:
                    free.pop()
                    self.nbytes -= size
                    released += size
        return released

    def holds(self, array: np.ndarray) -> bool:
        """Tell whether the memory of `array` is the pool's."""
        memory = _memory_of(array)
        if memory is None:
            return False
        give_back: Any = memory.use.__callback__  # bound to the list of free blocks that it comes from
        return give_back.__self__ is self._free.get(memory.nbytes)


def _memory_of(array: np.ndarray) -> _Memory | None:
    base: Any = array
    while base is not None and not isinstance(base, _Memory):
        base = getattr(base, "base", None)
    return base


def is_pooled(array: np.ndarray) -> bool:
    """Tell whether the memory of `array` comes from any pool."""
    return _memory_of(array) is not None
