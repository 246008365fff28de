"""Counters of the hardware for the kernels that matter, by Nsight Compute; no setting of the card is touched.

    ncu ... python -m benchmarks.gpu_counters

runs each pass once between the profiler's start and stop; the stage "ncu" of the run-book starts that and reads what
ncu wrote.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_layers import LAYERS, operation, result_shape
from benchmarks.gpu_results import ROOT, Setting
from benchmarks.gpu_work import Item

CASES = (
    *(("128_128_at_16", "forward", "fast"), ("64_64_at_32", "forward", "fast"), ("512_512_at_4", "forward", "fast")),
    *(("128_128_at_16", "forward", "default"), ("64_64_at_32", "forward", "default")),
    *(("128_128_at_16", "backward_weight", "fast"), ("64_64_at_32", "backward_weight", "fast")),
    ("128_128_at_16", "backward_weight", "default"),
)
_BATCH = 512
_SECTIONS = ("SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "Occupancy", "LaunchStats")
_METRICS = (
    "sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active",
    "sm__inst_executed_pipe_tensor.sum",
    "sm__inst_issued.sum",
    "lts__t_bytes.sum",
    "l1tex__data_bank_conflicts_pipe_lsu.sum",
)
_KEPT = re.compile(
    r"gpu__time_duration\.sum|sm__cycles_(active|elapsed)\.avg|sm__inst_issued\.(sum|avg\.per_cycle_active)"
    r"|sass__inst_executed_per_opcode|sm__inst_executed_pipe_tensor\.sum"
    r"|(sm__pipe_tensor_op_hmma_cycles|sm__warps)_active\.avg\.pct_of_peak_sustained_active"
    r"|smsp__average_warps_issue_stalled_\w+_per_issue_active\.ratio"
    r"|(sm|l1tex|lts|gpu__dram)_?_throughput\.avg\.pct_of_peak_sustained_(active|elapsed)"
    r"|l1tex__data_bank_conflicts_pipe_lsu\.sum|lts__t_bytes\.sum|sm__maximum_warps_per_active_cycle_pct"
    r"|launch__(registers_per_thread|occupancy_limit_\w+|grid_size|block_size|shared_mem_per_block)"
)
"""Of some 490 numbers a launch, most of them the device's attributes."""
_SECONDS = 70  # of one attempt


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield the one look at all kernels."""
    del stage
    yield "kernels", partial(counters, setting)


def counters(setting: Setting) -> dict[str, Any]:
    """Run ncu; where a metric is unknown to it, once more with whole sections alone."""
    tool = shutil.which("ncu")
    if tool is None or setting.rehearsal:
        return {"status": "skipped", "message": "ncu is not in PATH" if tool is None else "there is no GPU"}
    sections = [word for name in (*_SECTIONS, "WarpStateStats") for word in ("--section", name)]
    tries = []
    for choice in ([*sections, "--metrics", ",".join(_METRICS)], sections, ["--set", "basic"]):
        rows, note = attempt(tool, choice, [sys.executable, "-m", "benchmarks.gpu_counters"])
        if rows:
            return {"kernels": rows, "options": choice, "tries": tries}
        tries.append(note)
    return {"status": "failed", "message": "ncu wrote no kernel", "tries": tries}


def attempt(tool: str, choice: list[str], command: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Run ncu once; return a row for each launch, and the end of what was printed."""
    with tempfile.TemporaryDirectory() as folder:
        log, launches = Path(folder) / "ncu.csv", Path(folder) / "launches.json"
        how = ["--clock-control", "none", "--profile-from-start", "off", "--csv", "--page", "raw"]
        words = [tool, *how, "--print-units", "base", "--log-file", str(log), *choice, *command, str(launches)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=ROOT)
            printed = f"exit {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        except subprocess.TimeoutExpired as error:
            printed = f"too late: {_SECONDS} s; {error.stdout!r:.1500}"
        text = log.read_text(errors="replace") if log.exists() else ""
        labels = json.loads(launches.read_text()) if launches.exists() else []
    return kernel_rows(text, labels), f"{printed}\n{text[-1500:]}"


def kernel_rows(text: str, labels: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Read ncu's table: names, units, then a line for each launch; numbers only, with the pass that launched it."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    table = list(csv.reader(lines))
    if len(table) < 3 or "Kernel Name" not in table[0]:
        return []
    names, rows = table[0], []
    for number, cells in enumerate(table[2:]):
        row: dict[str, Any] = dict(labels[number]) if len(labels) == len(table) - 2 else {}
        found = dict(zip(names, cells, strict=False))
        row["kernel"] = found.get("Kernel Name", "")
        row["metrics"] = kept({n: value for n, cell in found.items() if (value := _number(cell)) is not None})
        rows.append(row)
    return rows


def kept(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that say something of a kernel."""
    return {name: value for name, value in metrics.items() if _KEPT.fullmatch(name)}


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None


def main() -> int:
    """Run each pass once under the profiler, after once without."""
    import cupy
    import numpy as np

    import fastconv as fc

    some = np.random.default_rng(0).standard_normal(1 << 20, np.float32)
    launches: list[dict[str, str]] = []
    with fc.use_backend("cupy") as backend:
        for name, direction, precision in CASES:
            conv = replace(next(c for c in LAYERS if c.name == name), batch=_BATCH)
            shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
            arrays = {key: backend.asarray(np.resize(some, shape)) for key, shape in shapes.items()}
            arrays["out"] = backend.empty(result_shape(conv, direction), "float32")
            run = operation(backend, conv, direction, precision, arrays)
            run()
            backend.synchronize()
            label = {"layer": name, "direction": direction, "precision": precision}
            cupy.cuda.runtime.profilerStart()
            with backend.trace(lambda kernel, label=label: launches.append(label | {"name": kernel})):
                run()
            backend.synchronize()
            cupy.cuda.runtime.profilerStop()
    Path(sys.argv[1]).write_text(json.dumps(launches))
    return 0


if __name__ == "__main__":
    sys.exit(main())
