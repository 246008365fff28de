"""One process of the run-book: goes through the items of a stage that have no answer yet.

`benchmarks.gpu_run` starts it: ``python -m benchmarks.gpu_work STAGE --out DIR --run KEY --backend NAME``.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_results import BACKENDS, POISONED, Results, Setting

Item = tuple[str, Callable[[], dict[str, Any]]]
"""A name, and what finds the contents of its row; "status" among them where it is not "ok"."""

MODULES = {
    "smoke": "gpu_smoke",
    "cubins": "gpu_kernels",
    "probes": "gpu_checks",
    "ops": "gpu_ops",
    "more": "gpu_ops",
    "steps": "gpu_steps",
    "compiled": "gpu_steps",
    "ncu": "gpu_counters",
    "sanitizer": "gpu_checks",
}
"""Each has ``items(setting, stage)``."""


def die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def work(stage: str, setting: Setting, items: Iterator[Item]) -> int:
    """Go through the items; return 0, or POISONED where nothing more can be run in this process."""
    results = Results(setting)
    done = results.finished(stage)
    for name, run in items:
        if name in done:
            continue
        results.append(stage, name, "begun")
        begin = time.monotonic()
        try:
            found = {"status": "ok"} | run()
        except Exception as error:  # whatever it is, the other items are worth having
            text = f"{type(error).__name__}: {error}"
            found = {"status": "failed", "message": text[:1000], "traceback": traceback.format_exc()[-6000:]}
        found["seconds"] = round(time.monotonic() - begin, 3)
        status = found.pop("status")
        results.append(stage, name, status, **found)
        print(stage, name, status, found, flush=True)
        if status != "ok" and cuda_is_broken():
            return POISONED
    return 0


def cuda_is_broken() -> bool:
    """Ask CuPy, where it was imported, whether the device still answers: some errors stay until the process ends."""
    cupy = sys.modules.get("cupy")
    if cupy is None:
        return False
    try:
        cupy.cuda.get_current_stream().synchronize()
    except Exception:  # whatever it is: no call works any more
        return True
    return False


def main() -> int:
    """Do the work of one process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_work")
    parser.add_argument("stage", choices=MODULES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--backend", choices=BACKENDS, required=True)
    parser.add_argument("--stages", default="")
    arguments = parser.parse_args()
    die_with_parent()
    warnings.simplefilter("default")
    stages = tuple(filter(None, arguments.stages.split(",")))
    setting = Setting(arguments.out, arguments.run, arguments.backend, stages)
    module = importlib.import_module(f"benchmarks.{MODULES[arguments.stage]}")
    return work(arguments.stage, setting, module.items(setting, arguments.stage))


if __name__ == "__main__":
    sys.exit(main())
