"""The run-book for a machine with a GPU: proof, then figures.

    python -m benchmarks.gpu STAGE [--out DIR]

Stages, each within ten minutes on an H100, in the order that makes sense:

- ``tests``: the contract's cases, gradients, determinism and errors on the real backend (pytest -m gpu)
- ``probes``: every function of ptx.cuh alone, bit for bit against the emulator's answers
- ``sanitizer``: compute-sanitizer's four tools over a small set
- ``ceilings``: what copies and matrix products reach here, through PyTorch
- ``ops``: each pass of each layer against PyTorch with cuDNN
- ``steps``: training steps of resnet9 and resnet20 against PyTorch eager, compiled and graph-captured
- ``all``: all of them

Each writes ``gpu_<stage>.json`` to DIR (benchmarks/results by default): device, driver, versions, date, command, and
every single time. ``save-probes`` keeps the emulator's answers anew and needs no GPU. It exits with 2 and one line
where something is missing, and with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_ops, gpu_probes, gpu_steps
from benchmarks.gpu_record import (
    RESULTS,
    ROUNDS,
    RunBookError,
    environment,
    event_clock,
    gpu_backend,
    torch_on_gpu,
    write,
)
from fastconv.backends import get_backend, use_backend
from fastconv.errors import BackendUnavailableError

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)")


def cupy() -> Any:
    """Return CuPy, with a GPU that the backend can use."""
    backend: Any = gpu_backend()
    return backend._cupy


def run_tests(arguments: argparse.Namespace) -> int:
    """Run the tests that need a GPU."""
    where = environment(cupy())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "gpu",
            "tests/backends/test_gpu.py",
            f"--junitxml={report}",
        ]
        done = subprocess.run(command, check=False)  # noqa: S603
        rows = test_rows(report.read_text()) if report.exists() else []
    write(arguments.out, "tests", arguments.command, where, rows, pytest_exit=done.returncode)
    return int(done.returncode != 0)


def test_rows(text: str) -> list[dict[str, Any]]:
    """Return a row for each outcome of pytest's report, and for each failure its message."""
    cases = list(ET.fromstring(text).iter("testcase"))  # noqa: S314 (see the import)
    bad = [case for case in cases if any(case.find(kind) is not None for kind in ("failure", "error"))]
    skipped = [case for case in cases if case.find("skipped") is not None]
    counts = {"passed": len(cases) - len(bad) - len(skipped), "failed": len(bad), "skipped": len(skipped)}
    return [counts, *({"test": case.get("name"), "message": str(_message(case))[:500]} for case in bad)]


def _message(case: ET.Element) -> str | None:
    return next((found.get("message") for kind in ("failure", "error") if (found := case.find(kind)) is not None), None)


def run_probes(arguments: argparse.Namespace) -> int:
    """Compare the leaf functions with the emulator's answers."""
    where = environment(cupy())
    rows = gpu_probes.compare_with_saved(gpu_backend())
    for row in rows:
        print(row["probe"], "agrees" if row["agrees"] else f"DIFFERS: {row}")
    write(arguments.out, "probes", arguments.command, where, rows)
    return int(not all(row["agrees"] for row in rows))


def run_sanitizer(arguments: argparse.Namespace) -> int:
    """Run compute-sanitizer."""
    where = environment(cupy())
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise RunBookError("compute-sanitizer is not in PATH; it comes with the CUDA toolkit")
    rows = []
    for name in TOOLS:
        command = [tool, "--tool", name, sys.executable, "-m", "benchmarks.gpu_small"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        rows.append(sanitizer_row(name, done.returncode, done.stdout + done.stderr))
        print(rows[-1]["tool"], rows[-1]["errors"], flush=True)
    write(arguments.out, "sanitizer", arguments.command, where, rows)
    return int(any(row["errors"] != 0 for row in rows))


def sanitizer_row(tool: str, code: int, output: str) -> dict[str, Any]:
    """Return what a tool found; errors are None where it did not come to its summary, or the program failed."""
    found = _SUMMARY.findall(output)
    errors = int(found[-1]) if found and code == 0 else None
    if found and int(found[-1]):
        errors = int(found[-1])
    return {"tool": tool, "exit": code, "errors": errors, "output": output[-4000:]}


def run_ceilings(arguments: argparse.Namespace) -> int:
    """Measure copies and matrix products."""
    module, torch = cupy(), torch_on_gpu()
    rows = gpu_ops.ceilings(torch, event_clock(module), "cuda", size=8192, rounds=arguments.rounds)
    for row in rows:
        print(row["name"], row.get("gigabytes_per_second") or row.get("teraflops"))
    write(arguments.out, "ceilings", arguments.command, environment(module, torch), rows)
    return 0


def run_ops(arguments: argparse.Namespace) -> int:
    """Measure the layers."""
    module, torch = cupy(), torch_on_gpu()
    how = {"batch": arguments.batch, "device": "cuda", "rounds": arguments.rounds, "times": 12}
    with use_backend("cupy") as backend:
        rows = gpu_ops.measure_all(torch, backend, event_clock(module), **how)
    write(arguments.out, "ops", arguments.command, environment(module, torch), rows)
    return int(any("error" in row for row in rows))


def run_steps(arguments: argparse.Namespace) -> int:
    """Measure training steps."""
    module, torch = cupy(), torch_on_gpu()
    how = {"device": "cuda", "rounds": arguments.rounds, "times": 5, "seconds": arguments.seconds}
    with use_backend("cupy"):
        rows = gpu_steps.measure_all(torch, event_clock(module), **how)
    write(arguments.out, "steps", arguments.command, environment(module, torch), rows)
    return int(any(name.startswith("fastconv") for row in rows for name in row["failed"]))


def save_probes(arguments: argparse.Namespace) -> int:
    """Keep the emulator's answers."""
    try:
        gpu_probes.save(get_backend("cuda-emulator"))
    except BackendUnavailableError as error:
        raise RunBookError(str(error)) from error
    print(gpu_probes.SAVED)
    return 0


STAGES: dict[str, Callable[[argparse.Namespace], int]] = {
    "tests": run_tests,
    "probes": run_probes,
    "sanitizer": run_sanitizer,
    "ceilings": run_ceilings,
    "ops": run_ops,
    "steps": run_steps,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="The run-book for a machine with a GPU."
    )
    made.add_argument("stage", choices=[*STAGES, "all", "save-probes"])
    made.add_argument("--out", type=Path, default=RESULTS, help="where the JSON files go (default: benchmarks/results)")
    made.add_argument("--batch", type=int, default=512, help="of the layers (default: 512)")
    made.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each measurement (default: {ROUNDS})")
    made.add_argument("--seconds", type=float, default=300, help="within which compiled peers are made (default: 300)")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Run a stage, or all; the worst exit status counts."""
    arguments = parser().parse_args(words)
    arguments.command = f"python -m benchmarks.gpu {' '.join(sys.argv[1:] if words is None else words)}"
    if arguments.stage == "save-probes":
        stages = [save_probes]
    else:
        stages = list(STAGES.values()) if arguments.stage == "all" else [STAGES[arguments.stage]]
    worst = 0
    for stage in stages:
        try:
            worst = max(worst, stage(arguments))
        except RunBookError as error:
            print(error, file=sys.stderr)
            worst = 2
    return worst


if __name__ == "__main__":
    sys.exit(main())
