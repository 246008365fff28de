"""What a machine can do at most, as the library itself reaches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastconv import _validate as validate
from fastconv import functional
from fastconv.backends.contract.backend import Backend
from fastconv.training.diagnostics.found import Found

_SIDE = 2048
_NUMBERS = 1 << 24
_ROUNDS = 5
_LONG = 0.05  # seconds


@dataclass(frozen=True)
class Machine(Found):
    """The two rates of a roofline.

    Parameters
    ----------
    flops : float
        Multiplications and additions a second.
    bytes_per_second : float
        That memory gives and takes.
    how : str
        Where the numbers are from.

    Examples
    --------
    >>> machine = fc.training.diagnostics.Machine(flops=100e9, bytes_per_second=10e9)
    >>> machine.least_seconds(flops=1e9, moved=1e9)
    0.1
    """

    flops: float
    bytes_per_second: float
    how: str = "stated"

    def __post_init__(self) -> None:
        for name in ("flops", "bytes_per_second"):
            validate.number(getattr(self, name), name, low=0.0, open_low=True)

    def least_seconds(self, flops: float, moved: float) -> float:
        """Return the longer of computing and of moving.

        Parameters
        ----------
        flops : float
            Multiplications and additions.
        moved : float
            Bytes that are read and written.

        Returns
        -------
        float
            Seconds.
        """
        return max(flops / self.flops, moved / self.bytes_per_second)

    def __str__(self) -> str:
        return f"{self.flops / 1e9:,.0f} GFLOP/s and {self.bytes_per_second / 1e9:,.1f} GB/s ({self.how})"


def measure_machine(backend: Backend) -> Machine:
    """Measure the rates of the active backend: a product of 2048 x 2048 matrices and a copy of 64 MB, float32.

    That is what its own kernels reach with all threads, in the active precision, not what the maker says; each is the
    best of five. Where a smaller one takes long already (the emulator), that one counts.

    Parameters
    ----------
    backend : Backend
        The active one.

    Returns
    -------
    Machine
        How it was measured stands in `how`.

    Examples
    --------
    >>> machine = fc.training.diagnostics.measure_machine(fc.get_backend())  # doctest: +SKIP
    >>> machine.how  # doctest: +SKIP
    'measured on the backend numpy'
    """
    generator = np.random.default_rng(0)

    def multiply(side: int) -> Callable[[], object]:
        x, weight = (backend.asarray(generator.standard_normal((side, side)).astype(np.float32)) for _ in range(2))
        return lambda: functional.dense(x, weight)

    def copy(size: int) -> Callable[[], object]:
        x, out = backend.empty((size,), np.float32), backend.empty((size,), np.float32)
        backend.fill(1.0, out=x)
        return lambda: backend.copy(x, out=out)

    side, multiplying = _best(backend, multiply, 32, _SIDE)
    size, copying = _best(backend, copy, 1 << 12, _NUMBERS)
    how = f"measured on the backend {backend.name}"
    return Machine(2 * side**3 / multiplying, 2 * 4 * size / copying, how)


def _best(backend: Backend, make: Callable[[int], Callable[[], object]], size: int, most: int) -> tuple[int, float]:
    """Return the size that was reached, and the least of some times in seconds."""
    while True:
        run = make(size)
        run()  # may compile
        seconds = min(_seconds(backend, run) for _ in range(_ROUNDS))
        if size >= most or seconds > _LONG:
            return size, seconds
        size *= 4


def _seconds(backend: Backend, run: Callable[[], object]) -> float:
    backend.synchronize()
    begin = time.perf_counter()
    run()
    backend.synchronize()
    return time.perf_counter() - begin
