"""What the CUDA backends would launch, without running it: for the compile table and the static report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastconv import backends
from fastconv.backends.cuda_backend import Launch, LaunchList
from fastconv.backends.emulator.backend import EmulatorBackend, _EmulatedPool
from fastconv.kernels.cuda.device import Dim, Kernel


class DryDevice(LaunchList):
    """Notes launches. It has as many multiprocessors as an H100."""

    multiprocessors = 132

    def launch(self, kernel: Kernel, grid: Dim, block: Dim, args: Sequence[Any], *, shared_bytes: int = 0) -> None:
        self.submit(Launch(kernel, grid, block, tuple(args), shared_bytes))

    def run(self, launch: Launch) -> None:
        """Nothing."""


class DryBackend(EmulatorBackend):
    """The emulator's arrays without its compiler. Unwritten memory is never mapped: large maps cost nothing."""

    def __init__(self) -> None:
        self.device = DryDevice()
        self.pool = _EmulatedPool()
        self._uploads = _EmulatedPool()


@contextmanager
def dry_backend() -> Iterator[DryBackend]:
    """Let "cuda-emulator" note launches instead of running them."""
    made, name = DryBackend(), EmulatorBackend.name
    before = backends._instances.get(name)
    backends._instances[name] = made
    try:
        with backends.use_backend(name):
            yield made
    finally:
        if before is None:
            del backends._instances[name]
        else:
            backends._instances[name] = before
