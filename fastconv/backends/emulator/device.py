"""Launches on the emulator: arguments checked and passed, faults of a kernel raised as exceptions."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.backends.cuda.launches import Launch, LaunchList
from fastconv.backends.emulator import compiler, settings
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import SHARED_MEMORY, Kernel
from fastconv.kernels.locks import ForkSafeLock

_MULTIPROCESSORS = 4  # so that blocks stride over small arrays too
_SHARED_MEMORY = SHARED_MEMORY[90]


class KernelError(RuntimeError):
    """A kernel did what no kernel may: a race, an access outside an array, a barrier that not all threads reach."""


@dataclass(frozen=True)
class Counter:
    """Requests of warps to memory from one place in a kernel.

    Attributes
    ----------
    kernel : its name; line : ``file:line``; shared : bool; write : bool; bytes : of one lane's access
    requests : how many
    taken, best : wavefronts (shared memory) or sectors of 32 bytes (global memory): taken, and needed at best
    """

    kernel: str
    line: str
    shared: bool
    write: bool
    bytes: int
    requests: int
    taken: int
    best: int


class _Settings(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("shared_limit", ctypes.c_uint),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("lazy_copies", ctypes.c_int),
        ("checks", ctypes.c_int),
        ("seconds", ctypes.c_int),
    )


class _Counter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint64),
        ("requests", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("best", ctypes.c_uint64),
        ("bytes", ctypes.c_uint32),
        ("shared", ctypes.c_uint32),
        ("write", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
    )


class EmulatorDevice(LaunchList):
    """Runs CUDA kernels on arrays of the CPU, one launch at a time.

    Attributes
    ----------
    multiprocessors : int
        What host functions take for the number of multiprocessors.
    shared_memory_per_block : int
        Bytes that a block may have, an H100's unless it is set: with less, host functions choose smaller tiles.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiprocessors = _MULTIPROCESSORS
        self.shared_memory_per_block = _SHARED_MEMORY
        self._lock = ForkSafeLock()
        self._counting: list[Counter] | None = None
        self._runtime = compiler.runtime()
        self._runtime.emulator_message.restype = ctypes.c_char_p
        self._runtime.emulator_counters.restype = ctypes.c_size_t

    def run(self, launch: Launch) -> None:
        """Run a launch to its end, whoever listens."""
        chosen = settings.current()
        text = build.source_text(launch.kernel)  # a key of its own: tests plant bugs in sources
        library, path = _load(launch.kernel, chosen.checks, text)
        call = getattr(library, f"emulated_{launch.kernel.name}")
        expected = getattr(library, f"arguments_{launch.kernel.name}")()
        if expected != len(launch.args):
            raise TypeError(f"{launch.kernel.name}: {len(launch.args)} arguments; it has {expected} parameters")
        if launch.shared_bytes > self.shared_memory_per_block:
            asked_for = f"{launch.shared_bytes} bytes of {self.shared_memory_per_block}"
            raise KernelError(f"{launch.kernel.name}: shared memory: the block asks for {asked_for}")
        boxes = [_box(argument) for argument in launch.args]
        addresses = (ctypes.c_void_p * max(1, len(boxes)))(*[ctypes.addressof(box) for box in boxes])
        asked = _Settings(
            launch.grid,
            launch.block,
            launch.shared_bytes,
            self.shared_memory_per_block,
            settings.ORDERS.index(chosen.order),
            chosen.seed,
            chosen.copies == "lazy",
            chosen.checks,
            chosen.seconds,
        )
        with self._lock:
            if chosen.checks:
                self._register(launch.args)
            failed = self._runtime.emulator_run(ctypes.byref(asked), call, addresses)
            if failed:
                message = self._runtime.emulator_message().decode()
                where = re.sub(r"@([0-9a-f]+)", lambda match: compiler.source_line(path, match[1]), message)
                raise KernelError(f"{launch.kernel.name}: {where}")
            if self._counting is not None:
                self._counting += self._read_counters(launch.kernel.name, path)

    def _register(self, args: Sequence[Any]) -> None:
        self._runtime.emulator_clear_regions()
        for array in {id(a): a for a in args if isinstance(a, np.ndarray)}.values():
            region = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), ctypes.c_uint(array.itemsize)
            self._runtime.emulator_add_region(*region)

    def _read_counters(self, kernel: str, library: Path) -> list[Counter]:
        rows = ctypes.POINTER(_Counter)()
        count = self._runtime.emulator_counters(ctypes.byref(rows))
        return [
            Counter(
                kernel,
                compiler.source_line(library, f"{row.code:x}"),
                bool(row.shared),
                bool(row.write),
                row.bytes,
                row.requests,
                row.taken,
                row.best,
            )
            for row in rows[:count]
        ]

    @contextmanager
    def counting(self) -> Iterator[list[Counter]]:
        """Within this, with checks on, the list that is yielded gets the counters of every launch."""
        counters: list[Counter] = []
        self._counting = counters
        self._runtime.emulator_count(1)
        try:
            yield counters
        finally:
            self._runtime.emulator_count(0)
            self._counting = None


@functools.cache
def _load(kernel: Kernel, checks: bool, text: str) -> tuple[ctypes.CDLL, Path]:
    path = compiler.kernel_library(kernel, checks=checks)
    return ctypes.CDLL(str(path)), path


def _box(argument: Any) -> Any:
    """Return a ctypes object that holds an argument, which must be of a type that the contract of Device names."""
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise TypeError("an array that is not C-contiguous went to a kernel")
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, np.generic):
        return ctypes.create_string_buffer(argument.tobytes(), argument.nbytes)
    raise TypeError(f"a {type(argument).__name__} went to a kernel; allowed: arrays, NumPy scalars, None")
