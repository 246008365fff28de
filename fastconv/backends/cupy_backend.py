"""CUDA kernels on a GPU through CuPy: arrays, launches and graphs. What is computed is in `fastconv.kernels.cuda`.

No cuBLAS, no cuDNN, no kernel of CuPy's own: whatever a step does can be captured.
"""

# ruff: noqa: D102 (documented by the contract)

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.base import Array, Shape
from fastconv.backends.cuda_backend import CudaBackend, Launch, LaunchList
from fastconv.errors import BackendUnavailableError, DeviceMemoryError
from fastconv.kernels.cuda import build
from fastconv.kernels.cuda.device import Dim, Kernel

_INSTALL = "pip install 'fastconv[cuda12]' (or cuda13)"
_LEAST_CAPABILITY = 80  # mma with tf32 and bf16, and cp.async
_STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel gets without asking


class CupyBackend(CudaBackend):
    """CUDA kernels on the current device of CuPy."""

    name = "cupy"
    on_host = False

    def __init__(self) -> None:
        self._cupy = _import_cupy()
        _check_device(self._cupy)
        self.device: CupyDevice = CupyDevice(self._cupy)
        self.pool = _CupyPool(self._cupy)

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return self.pool.empty(shape, dtype)

    def owns(self, array: Any) -> bool:
        return isinstance(array, self._cupy.ndarray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        if self.owns(array):
            same = (dtype is None or array.dtype == dtype) and array.flags.c_contiguous
            return array if same else self._cupy.ascontiguousarray(array, dtype)
        given = np.asarray(array, dtype)
        return self._allocate(lambda: self._cupy.asarray(given.astype(given.dtype.newbyteorder("="), order="C")))

    def to_numpy(self, array: Array) -> np.ndarray:
        host: np.ndarray = self._cupy.asnumpy(array)
        return host

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    def set_num_threads(self, count: int) -> None:
        """Nothing: the GPU has its own."""

    def _allocate(self, make: Callable[[], Array]) -> Array:
        return _allocated(self._cupy, make)

    def _repeat(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what replays the launches as one CUDA graph, on the stream that is current then."""
        cupy = self._cupy
        for launch in launches:
            self.device.prepare(launch.kernel, launch.shared_bytes)  # compiling is no part of a graph
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        with stream:
            stream.begin_capture()
            for launch in launches:
                self.device.run(launch)
            graph = stream.end_capture()
        return Graph(graph, tuple(launches), cupy)


class Graph:
    """A captured sequence of launches. It holds the arrays, of which a CUDA graph knows only the addresses."""

    def __init__(self, graph: Any, launches: tuple[Launch, ...], cupy: Any) -> None:
        self._graph, self._launches, self._cupy = graph, launches, cupy

    def __call__(self) -> None:
        """Replay it."""
        self._graph.launch(self._cupy.cuda.get_current_stream())


class CupyDevice(LaunchList):
    """Compiles kernels through CuPy, which keeps them on disk, and launches them on its current stream."""

    def __init__(self, cupy: Any) -> None:
        super().__init__()
        self._cupy = cupy
        self._functions: dict[tuple[int, Kernel], Any] = {}
        self.multiprocessors: int = cupy.cuda.Device().attributes["MultiProcessorCount"]

    def prepare(self, kernel: Kernel, shared_bytes: int) -> Any:
        """Return the compiled kernel, allowed to use so much dynamic shared memory."""
        key = self._cupy.cuda.Device().id, kernel
        function = self._functions.get(key)
        if function is None:
            module = self._cupy.RawModule(code=build.source_text(kernel), options=build.options(kernel))
            function = self._functions[key] = module.get_function(kernel.name)
        if shared_bytes > _STATIC_SHARED and function.max_dynamic_shared_size_bytes < shared_bytes:
            function.max_dynamic_shared_size_bytes = shared_bytes
        return function

    def run(self, launch: Launch) -> None:
        function = self.prepare(launch.kernel, launch.shared_bytes)
        # CuPy takes addresses as numbers; None would leave the parameter without a value.
        arguments = tuple(np.uint64(0) if a is None else a for a in launch.args)
        function(launch.grid, launch.block, arguments, shared_mem=launch.shared_bytes)

    def launch(self, kernel: Kernel, grid: Dim, block: Dim, args: Sequence[Any], *, shared_bytes: int = 0) -> None:
        self.submit(Launch(kernel, grid, block, tuple(args), shared_bytes))


class _CupyPool:
    """CuPy's memory pool, in the form of the contract."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return _allocated(self._cupy, lambda: self._cupy.empty(shape, dtype))


def _allocated(cupy: Any, make: Callable[[], Array]) -> Array:
    try:
        return make()
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise DeviceMemoryError(
            f"backend 'cupy': the GPU has no memory left ({error}); use smaller batches, or free arrays and call"
            " cupy.get_default_memory_pool().free_all_blocks()"
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
