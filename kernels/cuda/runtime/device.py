"""What a host function of `fastconv.kernels.cuda` asks of the machine that runs its kernels.

Two things implement it: a GPU through CuPy, and the emulator that runs the same sources on the CPU. The host functions
choose the variant and the grid and know nothing of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Dim = tuple[int, int, int]


@dataclass(frozen=True)
class Kernel:
    """One variant of one kernel: compiled once, then kept.

    Attributes
    ----------
    source : str
        File in a folder of `fastconv.kernels.cuda`, ``"max_pool.cu"``: no two have the same name.
    name : str
        The ``extern "C"`` function in it.
    defines : tuple of (str, str or int)
        Macros, ``("CHANNELS", 64)``: element type, channel counts, window sizes; never the batch size.
    """

    source: str
    name: str
    defines: tuple[tuple[str, str | int], ...] = ()


class SharedMemoryError(RuntimeError):
    """No variant of a kernel is small enough for the device."""


SHARED_MEMORY = {
    **dict.fromkeys((86, 89, 120, 121), 99 << 10),
    **dict.fromkeys((80, 87), 163 << 10),
    **dict.fromkeys((90, 100, 103, 110), 227 << 10),
}
"""Shared memory that a block may have at most, in bytes, by compute capability times ten: the CUDA C++ Programming
Guide's table of technical specifications. A device says so itself; this is for compiling where there is none."""


class Device(Protocol):
    """Runs kernels on arrays of its own kind."""

    multiprocessors: int
    """Number of streaming multiprocessors, for choices by shape; a constant on the emulator."""

    shared_memory_per_block: int
    """Bytes of shared memory that a block may have if it asks, its static and its dynamic part together."""

    def launch(self, kernel: Kernel, grid: Dim, block: Dim, args: Sequence[Any], *, shared_bytes: int = 0) -> None:
        """Run `kernel`; does not wait for it.

        Parameters
        ----------
        args : arrays of the device, NumPy scalars (``np.int32``, ``np.int64``, ``np.uint32``, ``np.uint64``,
            ``np.float32``, ``np.float64``), or None for a null pointer, in the order of the kernel's parameters
        shared_bytes : dynamic shared memory
        """
        ...
