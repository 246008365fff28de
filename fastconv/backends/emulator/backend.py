"""The backend "cuda-emulator"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.contract.converting import on_host
from fastconv.backends.contract.types import Array, Shape
from fastconv.backends.cuda.backend import CudaBackend
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.device import EmulatorDevice
from fastconv.backends.memory import Pool, idle_limit


class EmulatedArray(np.ndarray):
    """An array in the memory of the emulated GPU: of a type of its own, as a host array is none of the GPU's."""


class EmulatorBackend(CudaBackend):
    """CUDA kernels on the emulator. Needs g++ on Linux."""

    name = "cuda-emulator"
    on_host = False

    def __init__(self) -> None:
        super().__init__()
        self.device: EmulatorDevice = EmulatorDevice()
        self.pool = EmulatedPool(idle_limit())
        self._uploads = EmulatedPool(idle_limit())

    def owns(self, array: Any) -> bool:
        return isinstance(array, EmulatedArray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        given = on_host(array, dtype)
        native = given.dtype.newbyteorder("=")
        if isinstance(array, EmulatedArray) and array.dtype == native and array.flags.c_contiguous:
            return array
        moved = self._uploads.empty(given.shape, native)
        moved[...] = given
        return moved

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array, copy=True, subok=False)

    def free_memory(self) -> int:
        return super().free_memory() + self._uploads.release()

    def _repeat(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what runs the launches again, as a CUDA graph does on a GPU."""

        def replay() -> None:
            for launch in launches:
                self.device.run(launch)

        return replay


class EmulatedPool(Pool):
    """The pool of the CPU, whose arrays are EmulatedArray."""

    def empty(self, shape: Shape, dtype: Any) -> EmulatedArray:
        return super().empty(shape, dtype).view(EmulatedArray)
