"""CUDA kernels on a GPU through CuPy: arrays, launches and graphs. What is computed is in `fastconv.kernels.cuda`.

No cuBLAS, no cuDNN, no kernel of CuPy's own: whatever a step does can be captured. CuPy loads machine code that
`fastconv.kernels.cuda.runtime.cubins` has made or found; it compiles nothing.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.backends.contract.converting import on_host
from fastconv.backends.contract.types import Array, Shape
from fastconv.backends.cuda.backend import CudaBackend
from fastconv.backends.cuda.launches import Launch, LaunchList
from fastconv.errors import BackendUnavailableError, DeviceMemoryError
from fastconv.kernels.cuda.conv import choice
from fastconv.kernels.cuda.runtime import cubins, nvrtc
from fastconv.kernels.cuda.runtime.device import Kernel

_INSTALL = "pip install 'fastconv[cuda12]' (or cuda13)"
_LEAST_CAPABILITY = 80  # mma with tf32 and bf16, and cp.async


class CupyBackend(CudaBackend):
    """CUDA kernels on the current device of CuPy."""

    name = "cupy"
    on_host = False

    def __init__(self) -> None:
        super().__init__()
        self._cupy = _import_cupy()
        _check_device(self._cupy)
        self.device: CupyDevice = CupyDevice(self._cupy)
        self.pool = _CupyPool(self._cupy)

    def owns(self, array: Any) -> bool:
        return isinstance(array, self._cupy.ndarray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        if self.owns(array):
            same = (dtype is None or array.dtype == dtype) and array.flags.c_contiguous
            return array if same else self._cupy.ascontiguousarray(array, dtype)
        given = on_host(array, dtype)
        return _allocated(
            self._cupy, lambda: self._cupy.asarray(given.astype(given.dtype.newbyteorder("="), order="C"))
        )

    def to_numpy(self, array: Array) -> np.ndarray:
        host: np.ndarray = self._cupy.asnumpy(array)
        return host

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    def _repeat(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what replays the launches as one CUDA graph, on the stream that is current then."""
        cupy = self._cupy
        for launch in launches:
            self.device.prepare(launch.kernel, launch.shared_bytes)  # compiling is no part of a graph
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        with stream:
            stream.begin_capture()
            try:
                for launch in launches:
                    self.device.run(launch)
            except BaseException:
                # Else the stream would capture for ever. What it says of the launch that failed is known already.
                with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        return lambda: graph.launch(cupy.cuda.get_current_stream())


class CupyDevice(LaunchList):
    """Loads compiled kernels and launches them on CuPy's current stream.

    Attributes
    ----------
    target : str
        What kernels are compiled for, ``"sm_90"``.
    """

    def __init__(self, cupy: Any) -> None:
        super().__init__()
        self._cupy = cupy
        self._functions: dict[tuple[int, Kernel], Any] = {}
        device = cupy.cuda.Device()
        self.target = f"sm_{device.compute_capability}"
        self.multiprocessors: int = device.attributes["MultiProcessorCount"]
        self.shared_memory_per_block: int = device.attributes["MaxSharedMemoryPerBlockOptin"]

    def prepare(self, kernel: Kernel, shared_bytes: int) -> Any:
        """Return the loaded kernel, allowed to use so much dynamic shared memory."""
        key = self._cupy.cuda.Device().id, kernel
        function = self._functions.get(key)
        if function is None:
            function = self._load(kernel)
            if shared_bytes:
                # Always: without asking it is 48 KB less what the kernel declares itself. The amount is the variant's.
                function.max_dynamic_shared_size_bytes = shared_bytes
            self._functions[key] = function
        return function

    def _load(self, kernel: Kernel) -> Any:
        try:
            path = cubins.ensure(kernel, self.target)
        except nvrtc.CompilerUnavailableError as error:
            raise BackendUnavailableError(
                f"backend 'cupy': {kernel.name}: {error}; {_INSTALL} brings a compiler, or make the folder where there"
                f" is one with 'fastconv warmup --target {self.target}' and let FASTCONV_CACHE_DIR name it here"
            ) from error
        try:
            return self._cupy.RawModule(path=str(path)).get_function(kernel.name)
        except self._cupy.cuda.driver.CUDADriverError as error:
            raise BackendUnavailableError(self._refused(path, error)) from error

    def _refused(self, path: Path, error: Exception) -> str:
        version = self._cupy.cuda.runtime.driverGetVersion()
        made = cubins.describe(path)
        return (
            f"backend 'cupy': the driver, of CUDA {version // 1000}.{version % 1000 // 10}, does not load machine code"
            f" for {made['target']} made by NVRTC {made['nvrtc']} ({error}); install a newer driver, or delete"
            f" {path.parent} and install an NVRTC that is not newer than the driver"
        )

    def run(self, launch: Launch) -> None:
        function = self.prepare(launch.kernel, launch.shared_bytes)
        # CuPy takes addresses as numbers; None would leave the parameter without a value.
        arguments = tuple(np.uint64(0) if a is None else a for a in launch.args)
        function(launch.grid, launch.block, arguments, shared_mem=launch.shared_bytes)


class _CupyPool:
    """CuPy's memory pool, in the form of the contract."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return _allocated(self._cupy, lambda: self._cupy.empty(shape, dtype))

    def release(self) -> int:
        pool = self._cupy.get_default_memory_pool()
        before = int(pool.total_bytes())
        pool.free_all_blocks()
        return before - int(pool.total_bytes())


def _allocated(cupy: Any, make: Callable[[], Array]) -> Array:
    try:
        return make()
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"backend 'cupy': the GPU has no memory left ({error}); use smaller batches, or free arrays and call"
            " fastconv.free_memory()"
        ) from error


def _import_cupy() -> Any:
    try:
        with warnings.catch_warnings():  # of several CuPy packages, say; it is no error, and `info` lists packages
            warnings.simplefilter("ignore")
            import cupy
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "cupy":
            raise
        raise BackendUnavailableError(f"backend 'cupy': CuPy is not installed; {_INSTALL}") from error
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend 'cupy': CuPy is installed and cannot be imported ({error}); {_INSTALL}"
        ) from error
    return cupy


def _check_device(cupy: Any) -> None:
    """Refuse a machine whose GPU cannot be used, saying which part is missing."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailableError(
            f"backend 'cupy': CuPy is installed, but there is no usable NVIDIA driver or device ({error});"
            " install the driver, or choose the backend 'numba'"
        ) from error
    if not count:
        raise BackendUnavailableError(
            "backend 'cupy': CuPy and the driver are there, but no device (is CUDA_VISIBLE_DEVICES empty?);"
            " choose the backend 'numba'"
        )
    try:
        capability = int(cupy.cuda.Device().compute_capability)
        cupy.empty(1, np.uint8)
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.memory.OutOfMemoryError) as error:
        raise BackendUnavailableError(
            f"backend 'cupy': there is a device, but it cannot be used ({error}); see what nvidia-smi says"
        ) from error
    if capability < _LEAST_CAPABILITY:
        raise BackendUnavailableError(
            f"backend 'cupy': the device has compute capability {capability // 10}.{capability % 10}; the kernels need"
            f" {_LEAST_CAPABILITY // 10}.{_LEAST_CAPABILITY % 10} or newer (Ampere); choose the backend 'numba'"
        )
    shared = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
    if shared < choice.LEAST_SHARED_MEMORY:
        raise BackendUnavailableError(
            f"backend 'cupy': the device gives a block {shared} bytes of shared memory; the kernels need"
            f" {choice.LEAST_SHARED_MEMORY}; choose the backend 'numba'"
        )
