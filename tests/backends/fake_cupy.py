"""A `cupy` made of the emulator: as much of it as CupyBackend touches, so that its host code runs without a GPU.

It stands for the real module in `sys.modules`. What it accepts is what CuPy accepts: tuples for grid and block, NumPy
scalars and device arrays as arguments, options as text.
"""

from __future__ import annotations

import math
import types
from typing import Any

import numpy as np

from fastconv.backends.cuda_backend import Launch
from fastconv.backends.emulator import EmulatedArray, EmulatorDevice
from fastconv.kernels.cuda import build
from fastconv.kernels.cuda.device import Kernel


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class FakeCupy(types.ModuleType):
    """One GPU, or what is wrong with it."""

    ndarray = EmulatedArray

    def __init__(self, *, devices: int = 1, capability: str = "90", error: str = "", memory: int = 1 << 30) -> None:
        super().__init__("cupy")
        self.memory, self.captured, self.attributes = memory, None, {"MultiProcessorCount": 4}
        self.compiled: list[Kernel] = []
        self.emulator = EmulatorDevice()

        def get_device_count() -> int:
            if error:
                raise CUDARuntimeError(error)
            return devices

        device = types.SimpleNamespace(id=0, compute_capability=capability, attributes=self.attributes)
        self.stream = _Stream(self)
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError),
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            Device=lambda: device,
            Stream=lambda non_blocking: _Stream(self),
            get_current_stream=lambda: self.stream,
        )

    def empty(self, shape: Any, dtype: Any) -> EmulatedArray:
        nbytes = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        if nbytes > self.memory:
            raise OutOfMemoryError(f"Out of memory allocating {nbytes} bytes")
        if self.captured is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported")
        return np.empty(shape, dtype).view(EmulatedArray)

    def asarray(self, array: Any) -> EmulatedArray:
        made = self.empty(array.shape, array.dtype)
        made[...] = array
        return made

    def ascontiguousarray(self, array: Any, dtype: Any) -> EmulatedArray:
        return np.ascontiguousarray(array, dtype).view(EmulatedArray)

    def asnumpy(self, array: Any) -> np.ndarray:
        return np.array(array, subok=False)

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:  # noqa: N802
        return _Module(self, code, options)


class _Module:
    def __init__(self, cupy: FakeCupy, code: str, options: tuple[str, ...]) -> None:
        if cupy.captured is not None:
            raise CUDARuntimeError("compiled during a capture")
        assert all(isinstance(option, str) for option in options)
        self._cupy, self._code = cupy, code
        self._defines = tuple(tuple(o[2:].split("=", 1)) for o in options if o.startswith("-D"))

    def get_function(self, name: str) -> Any:
        source = self._code.split('"', 2)[1]
        kernel = Kernel(source, name, self._defines)
        assert build.source_text(kernel) == self._code
        self._cupy.compiled.append(kernel)
        return _Function(self._cupy, kernel)


class _Function:
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, cupy: FakeCupy, kernel: Kernel) -> None:
        self._cupy, self._kernel = cupy, kernel

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
        assert isinstance(args, tuple)
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= 227 << 10
        assert all(isinstance(a, (EmulatedArray, np.generic)) for a in args)
        launch = Launch(self._kernel, grid, block, args, shared_mem)
        if self._cupy.captured is None:
            self._cupy.emulator.run(launch)
        else:
            self._cupy.captured.append(launch)


class _Stream:
    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def synchronize(self) -> None:
        assert self._cupy.captured is None, "synchronised during a capture"

    def begin_capture(self) -> None:
        self._cupy.captured = []

    def end_capture(self) -> _Graph:
        launches, self._cupy.captured = self._cupy.captured, None
        return _Graph(self._cupy, launches)


class _Graph:
    def __init__(self, cupy: FakeCupy, launches: list[Launch]) -> None:
        self._cupy, self._launches = cupy, launches

    def launch(self, stream: _Stream) -> None:
        for launch in self._launches:
            self._cupy.emulator.run(launch)
