"""What the CUDA backends would launch, without running it: to compile kernels where there is no GPU, and to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv.backends import standing_in, use_backend
from fastconv.backends.contract.types import Shape
from fastconv.backends.cuda.launches import Launch, LaunchList
from fastconv.backends.emulator.backend import EmulatedArray, EmulatedPool, EmulatorBackend
from fastconv.errors import ArgumentError
from fastconv.kernels.cuda.runtime.device import SHARED_MEMORY, Kernel


def check_target(target: str) -> str:
    """Return the name of a target, ``"sm_90"`` or ``"sm_90a"``, if it is one that the kernels can run on."""
    if target.removesuffix("a") not in {f"sm_{capability}" for capability in SHARED_MEMORY}:
        allowed = ", ".join(f"sm_{capability}" for capability in sorted(SHARED_MEMORY))
        raise ArgumentError(f"target: got {target!r}; allowed: {allowed}")
    return target


class DryDevice(LaunchList):
    """Notes launches. It has the shared memory of its target, and as many multiprocessors as an H100."""

    multiprocessors = 132

    def __init__(self, target: str = "sm_90") -> None:
        super().__init__()
        self.shared_memory_per_block = SHARED_MEMORY[int(check_target(target).removeprefix("sm_").removesuffix("a"))]

    def run(self, launch: Launch) -> None:
        """Nothing."""


class DryBackend(EmulatorBackend):
    """The emulator's arrays without its compiler. All are zeros that are never mapped: large maps cost nothing."""

    device: Any

    def __init__(self, target: str = "sm_90") -> None:
        self.device = DryDevice(target)
        self.pool = _Zeros()
        self._uploads = EmulatedPool()


class _Zeros:
    """Arrays that nobody writes, so what is read back is the same every time, and finite."""

    def empty(self, shape: Shape, dtype: Any) -> EmulatedArray:
        return np.zeros(shape, dtype).view(EmulatedArray)

    def release(self) -> int:
        """Return 0: nothing is kept."""
        return 0


@contextmanager
def dry_backend(target: str = "sm_90") -> Iterator[DryBackend]:
    """Let "cuda-emulator" note launches, as a device of `target` would get them, instead of running them."""
    made = DryBackend(target)
    with standing_in(made), use_backend(made.name):
        yield made


def kernels_of(function: Callable[[], object], target: str) -> list[Kernel]:
    """Return the variants that `function` launches on a device of `target`, each once; results are not computed."""
    found: dict[Kernel, None] = {}
    with dry_backend(target) as backend, backend.device.listening(lambda launch: found.setdefault(launch.kernel)):
        function()
    return list(found)
