"""What the measuring stages of the run-book share: the backend, PyTorch if it is there, clocks, and the comparison."""

from __future__ import annotations

import gc
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_results import Setting, graphics_card
from fastconv import backends
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array

RESULTS = Path(__file__).parent / "results"
ROUNDS = 7
TOOLS = ("nvcc", "ncu", "compute-sanitizer", "nvidia-smi", "cuobjdump")


def open_backend(setting: Setting) -> Backend:
    """Return the backend of a run, and make it the active one."""
    if setting.backend == "fake-cupy":
        import pytest

        from tests.backends.cuda.fake_cupy import FakeCupy, install

        install(pytest.MonkeyPatch(), FakeCupy(), setting.out / "fake-cubins")
    backends.set_backend("cupy" if setting.backend == "fake-cupy" else setting.backend)
    return backends.get_backend()


def load_torch() -> Any:
    """Return the module torch, or None with one printed line where it cannot be imported: ours is timed alone then."""
    try:
        import torch
    except Exception as error:  # a broken installation must not cost our own figures
        print(f"torch cannot be imported: {type(error).__name__}: {error}", flush=True)
        return None
    return torch


def device_of(torch: Any, setting: Setting) -> str:
    """Return where PyTorch computes: on the GPU, at a rehearsal on the CPU."""
    if setting.rehearsal:
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError("torch is installed and sees no GPU")
    return "cuda"


def environment(setting: Setting, backend: Backend) -> dict[str, Any]:
    """Return what a reader needs to know about where a figure came from."""
    found: dict[str, Any] = {
        "command": " ".join(sys.orig_argv),
        "python": f"{platform.python_version()} {sys.executable}",
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "numpy": np.__version__,
        "fastconv": os.path.dirname(backends.__file__),
        "cache": os.environ.get("FASTCONV_CACHE_DIR"),
        "card": graphics_card(),
        "tools": {tool: shutil.which(tool) for tool in TOOLS},
    }
    if not setting.rehearsal:
        cupy: Any = backend._cupy
        runtime, device = cupy.cuda.runtime, cupy.cuda.Device()
        properties = runtime.getDeviceProperties(device.id)
        name = properties["name"]
        found |= {
            "device": name.decode() if isinstance(name, bytes) else str(name),
            "compute_capability": str(device.compute_capability),
            "multiprocessors": properties["multiProcessorCount"],
            "memory_bytes": properties["totalGlobalMem"],
            "shared_memory": device.attributes.get("MaxSharedMemoryPerBlockOptin"),
            "cuda_driver": runtime.driverGetVersion(),
            "cuda_runtime": runtime.runtimeGetVersion(),
            "nvrtc": list(cupy.cuda.nvrtc.getVersion()),
            "cupy": cupy.__version__,
        }
    return found


def shared_array(backend: Backend, tensor: Any) -> Array:
    """Return a contiguous tensor of PyTorch's as an array of the backend: on a GPU the same memory, by DLPack."""
    if tensor.device.type == "cpu":
        return backend.asarray(tensor.numpy())
    array = backend._cupy.from_dlpack(tensor)
    assert array.data.ptr == tensor.data_ptr()
    assert array.flags.c_contiguous
    return array


def as_tensor(torch: Any, backend: Backend, array: Array) -> Any:
    """Return an array of the backend as a tensor, on a GPU the same memory."""
    if hasattr(array, "__dlpack__") and hasattr(array.data, "ptr"):
        return torch.from_dlpack(array)
    return torch.from_numpy(backend.to_numpy(array))


def release(backend: Backend, torch: Any) -> None:
    """Give memory that nobody uses back to the device."""
    gc.collect()
    module = sys.modules.get("cupy")
    if hasattr(module, "get_default_memory_pool"):
        module.get_default_memory_pool().free_all_blocks()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    backend.synchronize()


Clock = Callable[[Callable[[], Any], int], float]
"""``clock(run, times)``: seconds of one of `times` calls, the device's own where it has a clock."""


def clock_of(backend: Backend, setting: Setting) -> Clock:
    """Return a clock of CUDA events; at a rehearsal the host's."""
    return host_clock if setting.rehearsal else event_clock(backend._cupy)


def host_clock(run: Callable[[], Any], times: int) -> float:
    """Return the seconds of one of `times` calls."""
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times


def event_clock(cupy: Any) -> Clock:
    """Return a clock of CUDA events on the current stream, which CuPy and PyTorch share: the legacy default one."""

    def clock(run: Callable[[], Any], times: int) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3 / times

    return clock


def compare(contenders: dict[str, Callable[[], Any]], clock: Clock, *, rounds: int, times: int) -> dict[str, Any]:
    """Time all in turn, round after round, and return every time and the medians, in microseconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        clock(run, times)  # libraries choose algorithms, pools fill
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(clock(run, times))
    microseconds = {name: [round(1e6 * value, 2) for value in values] for name, values in seconds.items()}
    return {"microseconds": microseconds, "medians": {n: statistics.median(v) for n, v in microseconds.items()}}


def ratio(medians: dict[str, float]) -> dict[str, Any]:
    """Return the best of ours and of the peers, and their time by ours: above 1 we are faster."""
    ours = {name: value for name, value in medians.items() if name.startswith("fastconv")}
    peers = {name: value for name, value in medians.items() if not name.startswith("fastconv")}
    if not ours or not peers:
        return {}
    best, peer = min(ours, key=lambda n: ours[n]), min(peers, key=lambda n: peers[n])
    return {"best": best, "peer": peer, "ratio": peers[peer] / ours[best]}
