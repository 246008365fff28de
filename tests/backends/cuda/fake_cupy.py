"""A `cupy` made of the emulator: as much of it as CupyBackend touches, so that its host code runs without a GPU.

It stands for the real module in `sys.modules`, and is as strict as CuPy and the driver: it never turns an array of its
own into NumPy's by itself, refuses what a stream that captures refuses, counts a kernel's own shared memory, checks
arguments against the kernel's parameters, and loads nothing that was compiled for another device.
"""

from __future__ import annotations

import json
import math
import re
import sys
import types
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator import EmulatedArray, EmulatorDevice
from fastconv.kernels.cuda.conv import choice
from fastconv.kernels.cuda.runtime import build, cubins, nvrtc
from fastconv.kernels.cuda.runtime.device import Kernel

COMPILED = Path(__file__).parents[3] / "benchmarks" / "results" / "cuda_compile.json"
_WITHOUT_ASKING = 48 << 10  # bytes of shared memory, those that the kernel declares included
_MAGIC = "fake cubin"


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class FakeArray:
    """Memory of the fake GPU. Nothing reads or writes it but CuPy's functions and the kernels."""

    def __init__(self, cupy: FakeCupy, memory: np.ndarray) -> None:
        self._cupy, self.memory = cupy, memory
        self.shape, self.dtype, self.size, self.ndim = memory.shape, memory.dtype, memory.size, memory.ndim
        self.nbytes, self.itemsize, self.strides = memory.nbytes, memory.itemsize, memory.strides
        self.flags = types.SimpleNamespace(c_contiguous=memory.flags.c_contiguous)
        self.data = types.SimpleNamespace(ptr=memory.ctypes.data)

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, *_: object, **__: object) -> Any:
        raise TypeError(f"{ufunc.__name__}: a kernel of CuPy's own")

    def _part(self, memory: np.ndarray) -> FakeArray:
        return FakeArray(self._cupy, memory)

    @property
    def T(self) -> FakeArray:  # noqa: N802 - CuPy's name
        return self._part(self.memory.T)

    def reshape(self, *shape: Any) -> FakeArray:
        return self._part(self.memory.reshape(*shape))

    def view(self, dtype: Any = None) -> FakeArray:
        return self._part(self.memory.view() if dtype is None else self.memory.view(dtype))

    def __getitem__(self, key: Any) -> FakeArray:
        return self._part(self.memory[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._cupy.not_while_capturing("cudaErrorStreamCaptureUnsupported")
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        self.memory[key] = value.memory if isinstance(value, FakeArray) else value

    def __len__(self) -> int:
        return len(self.memory)

    def get(self) -> np.ndarray:
        self._cupy.not_while_capturing("cudaErrorStreamCaptureUnsupported")
        return np.array(self.memory, subok=False)

    def item(self) -> Any:
        return self.get().item()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())


class FakeCupy(types.ModuleType):
    """One GPU, or what is wrong with it.

    Attributes
    ----------
    compiled : list of str
        Sources that its NVRTC compiled.
    loaded : list of Kernel
        Variants whose machine code was loaded.
    """

    ndarray = FakeArray
    __version__ = "14.2.0"

    def __init__(
        self,
        *,
        devices: int = 1,
        capability: str = "90",
        error: str = "",
        memory: int = 1 << 30,
        shared: int = 227 << 10,
        driver: int = 13000,
    ) -> None:
        super().__init__("cupy")
        self.memory, self.capability, self.shared, self.driver = memory, capability, shared, driver
        self.attributes = {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": shared}
        self.compiled: list[str] = []
        self.loaded: list[Kernel] = []
        self.emulator = EmulatorDevice()
        self.emulator.shared_memory_per_block = shared

        def get_device_count() -> int:
            if error:
                raise CUDARuntimeError(error)
            return devices

        device = types.SimpleNamespace(id=0, compute_capability=capability, attributes=self.attributes)
        self.kept = 1000  # bytes in its pool, all of them idle
        self.stream = self._default = _Stream(self)
        self.streams = [self.stream]
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(
                getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError, driverGetVersion=lambda: self.driver
            ),
            driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            Device=lambda: device,
            Stream=self._new_stream,
            get_current_stream=lambda: self.stream,
        )

    def _new_stream(self, *, non_blocking: bool) -> _Stream:
        assert non_blocking, "a stream that the default stream waits for cannot capture"
        self.streams.append(_Stream(self))
        return self.streams[-1]

    def get_default_memory_pool(self) -> Any:
        return types.SimpleNamespace(total_bytes=lambda: self.kept, free_all_blocks=lambda: setattr(self, "kept", 0))

    def not_while_capturing(self, what: str) -> None:
        if any(stream.captured is not None for stream in self.streams):
            raise CUDARuntimeError(what)

    def empty(self, shape: Any, dtype: Any) -> FakeArray:
        nbytes = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        if nbytes > self.memory:
            raise OutOfMemoryError(f"Out of memory allocating {nbytes} bytes")
        self.not_while_capturing("cudaErrorStreamCaptureUnsupported")
        return FakeArray(self, np.empty(shape, dtype).view(EmulatedArray))

    def asarray(self, array: Any) -> FakeArray:
        assert isinstance(array, np.ndarray)
        made = self.empty(array.shape, array.dtype)
        made.memory[...] = array
        return made

    def ascontiguousarray(self, array: FakeArray, dtype: Any) -> FakeArray:
        return FakeArray(self, np.ascontiguousarray(array.memory, dtype).view(EmulatedArray))

    def asnumpy(self, array: Any) -> np.ndarray:
        return array.get() if isinstance(array, FakeArray) else np.asarray(array)

    def RawModule(self, *, path: str) -> Any:  # noqa: N802 - CuPy's name
        return _Module(self, path)

    def compile_text(self, text: str, name: str, target: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        """Stand for `nvrtc.compile_text`: the machine code is the source itself."""
        assert flags[: len(build.FLAGS)] == build.FLAGS
        self.compiled.append(text)
        return json.dumps([_MAGIC, target, self.driver // 1000, text]).encode(), ""


def install(patch: pytest.MonkeyPatch, cupy: FakeCupy, folder: Path) -> None:
    """Let `cupy` be CuPy and its compiler be NVRTC, with `folder` for what is compiled."""
    patch.setitem(sys.modules, "cupy", cupy)
    patch.setattr(cubins, "cache_root", lambda: folder)
    patch.setattr(cubins, "compile_all", partial(cubins.compile_all, jobs=1))  # other processes have no fakes
    patch.setattr(nvrtc, "compile_text", cupy.compile_text)
    patch.setattr(nvrtc, "version", lambda: "13.0")


def _kernel_of(text: str, name: str) -> Kernel:
    """Return the variant whose source this is."""
    head, _, body = text.partition('#line 1 "')
    defines = tuple(tuple(line.split(" ", 2)[1:]) for line in head.splitlines())
    kernel = Kernel(body.partition('"')[0], name, defines)
    assert build.source_text(kernel) == text
    return kernel


class _Module:
    def __init__(self, cupy: FakeCupy, path: str) -> None:
        self._cupy, self._path = cupy, path

    def get_function(self, name: str) -> _Function:
        self._cupy.not_while_capturing("cudaErrorStreamCaptureUnsupported: a module is loaded")
        try:
            magic, target, release, text = json.loads(Path(self._path).read_bytes())
        except ValueError:
            magic = ""
        if magic != _MAGIC or release > self._cupy.driver // 1000:
            raise CUDADriverError("CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
        if target.rstrip("a") != f"sm_{self._cupy.capability}":
            raise CUDADriverError(
                "CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device"
            )
        kernel = _kernel_of(text, name)
        self._cupy.loaded.append(kernel)
        return _Function(self._cupy, kernel, text)


class _Function:
    def __init__(self, cupy: FakeCupy, kernel: Kernel, text: str) -> None:
        self._cupy, self._kernel, self._text = cupy, kernel, text
        self.shared_size_bytes = static_shared_bytes(kernel)
        self._granted = _WITHOUT_ASKING - self.shared_size_bytes
        self._parameters = parameters_of(text, kernel)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._granted

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, nbytes: int) -> None:
        if nbytes + self.shared_size_bytes > self._cupy.shared:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._granted = nbytes

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
        if not (isinstance(grid, tuple) and isinstance(block, tuple) and isinstance(args, tuple)):
            raise TypeError("grid, block and arguments are tuples")
        _check_size(grid, (2**31 - 1, 65535, 65535), "grid")
        _check_size(block, (1024, 1024, 64), "block")
        if math.prod(block) > 1024 or shared_mem > self._granted:
            raise CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: {self._kernel.name}: {shared_mem} bytes of dynamic shared memory,"
                f" {self.shared_size_bytes} of static; granted {self._granted}"
            )
        self._check_arguments(args)
        own = tuple(self._as_emulated(a, kind) for a, kind in zip(args, self._parameters, strict=True))
        launch = Launch(self._kernel, grid, block, own, shared_mem)
        if self._cupy.stream.captured is None:
            self._cupy.not_while_capturing("cudaErrorStreamCaptureImplicit: a launch beside the capture")
            self._cupy.emulator.run(launch)
        else:
            self._cupy.stream.captured.append(launch)

    def _check_arguments(self, args: tuple[Any, ...]) -> None:
        kinds = [_kind(a) for a in args]
        wrong = [
            f"{kind} for {wanted}"
            for kind, wanted in zip(kinds, self._parameters, strict=True)
            if kind != wanted and not (wanted == "pointer" and kind == "uint64")
        ]
        if wrong:
            raise TypeError(f"{self._kernel.name}: arguments: {', '.join(wrong)}")

    def _as_emulated(self, argument: Any, kind: str) -> Any:
        if isinstance(argument, FakeArray):
            return argument.memory
        return None if kind == "pointer" and argument == 0 else argument


def _check_size(size: tuple[int, ...], most: tuple[int, ...], what: str) -> None:
    if not all(0 < n <= limit for n, limit in zip(size, most, strict=True)):
        raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {what} {size}")


def _kind(argument: Any) -> str:
    if isinstance(argument, FakeArray):
        return "pointer"
    if isinstance(argument, np.generic):
        return argument.dtype.name
    raise TypeError(f"Unsupported type {type(argument)}")


_SCALARS = {
    "int": "int32",
    "unsigned": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
}


def parameters_of(text: str, kernel: Kernel) -> list[str]:
    """Return for each parameter of a kernel "pointer", or NumPy's name of its type."""
    # Written out, or by a macro of which the name is an argument: relu_forward is function##_forward.
    name = rf"(?:\b{kernel.name}|\bfunction##_{kernel.name.rpartition('_')[2]})"
    found = re.search(rf'extern "C" __global__ void[^;{{]*?{name}\(([^)]*)\)', text)
    assert found, kernel.name
    element = dict(kernel.defines).get("ELEMENT")
    kinds = []
    for parameter in found[1].split(","):
        words = parameter.replace("const ", "").strip()
        kind = words.rpartition(" ")[0].strip()
        kinds.append("pointer" if "*" in words else _SCALARS[element if kind == "T" else kind])
    return kinds


@cache
def _compiled() -> dict[tuple[str, str], int]:
    rows = json.loads(COMPILED.read_text())["rows"]
    return {(r["kernel"], _element(r["variant"].split())): r["static_shared"] for r in rows}


def _element(words: list[str]) -> str:
    return next((word for word in words if word.startswith("element=")), "")


_TILE = ("TILE_IMAGES", "TILE_H", "TILE_W")


def static_shared_bytes(kernel: Kernel) -> int:
    """Return what a kernel declares itself, by the compile table; those of tables depend on the tile."""
    defines = dict(kernel.defines)
    if kernel.name == "conv2d_gather":
        return choice.PIXEL_BYTES * int(defines["TILE_M"])
    if kernel.name == "conv2d_halo":
        tile, taps = ([int(defines[name]) for name in names] for names in (_TILE, ("KERNEL_H", "KERNEL_W")))
        return choice.halo_table_bytes(tile, taps)
    return _compiled().get((kernel.name, f"element={defines['ELEMENT']}" if "ELEMENT" in defines else ""), 0)


class _Stream:
    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy, self.captured = cupy, None

    def __enter__(self) -> _Stream:
        self._before, self._cupy.stream = self._cupy.stream, self
        return self

    def __exit__(self, *error: object) -> None:
        self._cupy.stream = self._before

    def synchronize(self) -> None:
        self._cupy.not_while_capturing("cudaErrorStreamCaptureUnsupported: synchronised during a capture")

    def begin_capture(self) -> None:
        self._cupy.not_while_capturing("cudaErrorIllegalState: a capture is under way")
        if self is self._cupy._default:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the legacy stream")
        self.captured = []

    def end_capture(self) -> _Graph:
        if self.captured is None:
            raise CUDARuntimeError("cudaErrorIllegalState: no capture is under way")
        launches, self.captured = self.captured, None
        return _Graph(self._cupy, launches)


class _Graph:
    def __init__(self, cupy: FakeCupy, launches: list[Launch]) -> None:
        self._cupy, self._launches = cupy, launches

    def launch(self, stream: _Stream) -> None:
        self._cupy.not_while_capturing("cudaErrorStreamCaptureUnsupported: a graph is launched")
        for launch in self._launches:
            self._cupy.emulator.run(launch)
