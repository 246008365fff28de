"""Where GPU figures come from: device, driver, versions, date and command, and the files that they go to."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.backends import get_backend
from fastconv.backends.base import Backend
from fastconv.errors import BackendUnavailableError

RESULTS = Path(__file__).parent / "results"
ROUNDS = 15


class RunBookError(RuntimeError):
    """A stage cannot run here; the message says what is missing."""


def gpu_backend() -> Backend:
    """Return the backend "cupy".

    Raises
    ------
    RunBookError
        There is no GPU that it can use.
    """
    try:
        return get_backend("cupy")
    except BackendUnavailableError as error:
        raise RunBookError(f"no GPU to run on: {error}") from error


def torch_on_gpu() -> Any:
    """Return the module torch, with a GPU.

    Raises
    ------
    RunBookError
        It is not installed, or sees none.
    """
    try:
        import torch
    except ImportError as error:
        raise RunBookError("PyTorch, the peer of this stage, is not installed; pip install torch") from error
    if not torch.cuda.is_available():
        raise RunBookError(f"PyTorch {torch.__version__}, the peer of this stage, sees no GPU")
    return torch


def environment(cupy: Any, torch: Any = None) -> dict[str, Any]:
    """Return what a reader needs to know about where a figure came from."""
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"]
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": name.decode() if isinstance(name, bytes) else str(name),
        "compute_capability": str(cupy.cuda.Device().compute_capability),
        "multiprocessors": properties["multiProcessorCount"],
        "memory_bytes": properties["totalGlobalMem"],
        "driver": driver(),
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    if torch is not None:
        found |= {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    return found


def driver() -> str:
    """Return the driver's version, as nvidia-smi prints it, or why it does not."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"


def write(folder: Path, stage: str, command: str, where: dict[str, Any], rows: Sequence[Any], **more: Any) -> Path:
    """Write what a stage measured to ``gpu_<stage>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"gpu_{stage}.json"
    record = {"command": command, **where, **more, "rows": list(rows)}
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


Clock = Callable[[Callable[[], Any], int], float]
"""``clock(run, times)``: seconds of one of `times` calls, the device's own where it has a clock."""


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
    microseconds = {name: [1e6 * value for value in values] for name, values in seconds.items()}
    return {"microseconds": microseconds, "medians": {n: statistics.median(v) for n, v in microseconds.items()}}


def ratio(medians: dict[str, float]) -> dict[str, Any]:
    """Return the best of ours and of the peers, and their time by ours: above 1 we are faster."""
    ours = {name: value for name, value in medians.items() if name.startswith("fastconv")}
    peers = {name: value for name, value in medians.items() if not name.startswith("fastconv")}
    if not ours or not peers:
        return {}
    best, peer = min(ours, key=lambda n: ours[n]), min(peers, key=lambda n: peers[n])
    return {"best": best, "peer": peer, "ratio": peers[peer] / ours[best]}
