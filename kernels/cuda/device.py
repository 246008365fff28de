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
        File in this folder, ``"max_pool.cu"``.
    name : str
        The ``extern "C"`` function in it.
    defines : tuple of (str, str or int)
        Macros, ``-DCHANNELS=64``: element type, channel counts, window sizes; never the batch size.
    """

    source: str
    name: str
    defines: tuple[tuple[str, str | int], ...] = ()


class Device(Protocol):
    """Runs kernels on arrays of its own kind."""

    multiprocessors: int
    """Number of streaming multiprocessors, for choices by shape; a constant on the emulator."""

    def launch(self, kernel: Kernel, grid: Dim, block: Dim, args: Sequence[Any], *, shared_bytes: int = 0) -> None:
        """Run `kernel`; does not wait for it.

        Parameters
        ----------
        args : arrays of the device, NumPy scalars (``np.int32``, ``np.int64``, ``np.uint32``, ``np.uint64``,
            ``np.float32``, ``np.float64``), or None for a null pointer, in the order of the kernel's parameters
        shared_bytes : dynamic shared memory
        """
        ...
