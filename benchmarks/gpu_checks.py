"""The stages that compare and watch: leaf probes against the emulator's answers, and compute-sanitizer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks import gpu_probes
from benchmarks.gpu_record import open_backend
from benchmarks.gpu_results import ROOT, Setting
from benchmarks.gpu_work import Item
from fastconv.backends.contract.backend import Backend

TOOLS = ("memcheck", "racecheck")
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)")


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield the probes, or the tools of compute-sanitizer."""
    if stage == "sanitizer":
        for name in TOOLS:
            yield name, partial(sanitizer, setting, name)
        return
    backend = open_backend(setting)
    saved = json.loads(gpu_probes.SAVED.read_text())["probes"]
    for probe in gpu_probes.probes():
        yield probe.name, partial(probe_row, backend, probe, saved.get(probe.name))


def probe_row(backend: Backend, probe: gpu_probes.Probe, kept: dict[str, str] | None) -> dict[str, Any]:
    """Compare one leaf function."""
    row = gpu_probes._row(backend, probe, kept)
    return {"status": "ok" if row["agrees"] else "wrong", **row}


def sanitizer(setting: Setting, name: str) -> dict[str, Any]:
    """Run the small set under one tool."""
    tool = shutil.which("compute-sanitizer")
    if tool is None or setting.rehearsal:
        return {"status": "skipped", "message": "it is not in PATH" if tool is None else "there is no GPU"}
    command = [tool, "--tool", name, sys.executable, "-m", "benchmarks.gpu_small"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return sanitizer_row(name, done.returncode, done.stdout + done.stderr)


def sanitizer_row(tool: str, code: int, output: str) -> dict[str, Any]:
    """Return what a tool found; errors are None where it did not come to its summary, or the program failed."""
    found = _SUMMARY.findall(output)
    errors = int(found[-1]) if found and code == 0 else None
    if found and int(found[-1]):
        errors = int(found[-1])
    status = {0: "ok", None: "failed"}.get(errors, "wrong")
    first = output.find("=========")
    shown = output[first : first + 3000] if errors else ""
    return {"status": status, "tool": tool, "exit": code, "errors": errors, "output": shown + output[-3000:]}
