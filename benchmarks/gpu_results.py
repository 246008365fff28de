"""The results of the run-book: one file of lines, each appended and on disk before the next thing begins.

A row is a JSON object on a line of its own: ``run`` (which sources on which device), ``stage``, ``item`` (None for the
stage itself), ``status``, ``seconds``, and what was found. Whatever ends a process, the rows before it stay; a second
call reads them and goes on. Nothing here imports more than Python's own library.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FINISHED = frozenset({"ok", "wrong", "failed", "timeout"})
"""Statuses of an item that has its answer: right, wrong numbers, an exception, or too late."""
POISONED = 70
"""Exit status of a process in which CUDA does not work any more: another one goes on."""
BACKENDS = ("cupy", "cuda-emulator", "fake-cupy")
_SOURCES = ("fastconv", "kernels", "benchmarks", "tests")


@dataclass(frozen=True)
class Setting:
    """What each process of a run is told.

    Attributes
    ----------
    out : folder of the results
    run : key of the run; rows of another one do not count
    backend : "cupy"; for rehearsals without a GPU "cuda-emulator", or "fake-cupy", a CuPy made of the emulator
    stages : that were chosen, and whose kernels are compiled ahead; all if empty
    """

    out: Path
    run: str
    backend: str
    stages: tuple[str, ...] = ()

    @property
    def rehearsal(self) -> bool:
        """Whether there is no GPU: shapes are tiny, and no time means anything."""
        return self.backend != "cupy"


class Results:
    """The file ``gpu.jsonl`` of a folder, for one run."""

    def __init__(self, setting: Setting) -> None:
        self.path = setting.out / "gpu.jsonl"
        self._run = setting.run

    def append(self, stage: str, item: str | None, status: str, **found: Any) -> None:
        """Add a row; it is on disk when this returns. Rows of several processes do not mix: each is one write."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        row = {"run": self._run, "time": when, "stage": stage, "item": item, "status": status, **found}
        line = json.dumps(row, default=str) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:  # in this mode every write goes to the end, wherever that is by then
            if _torn(file):
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of this run, in order. A line that was cut off is left out."""
        return [row for row in read(self.path) if row.get("run") == self._run]

    def latest(self, stages: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the last row of each item of some stages; an item asked for again has none."""
        wanted, found = set(stages), {}
        for row in self.rows():
            if row["stage"] in wanted and row["item"] is not None:
                found[row["item"]] = row
                if row["status"] == "again":
                    del found[row["item"]]
        return found

    def finished(self, *stages: str) -> set[str]:
        """Return the items that have their answer."""
        return {item for item, row in self.latest(stages).items() if row["status"] in FINISHED}

    def open_item(self, stage: str) -> str | None:
        """Return the item that was begun and has no answer."""
        return next((i for i, row in self.latest([stage]).items() if row["status"] == "begun"), None)

    def outcome(self, stage: str) -> str | None:
        """Return the last status of a stage as a whole: "done", "failed", "skipped", or None before any of them."""
        rows = [r for r in self.rows() if r["stage"] == stage and (r["item"] is None or r["status"] == "again")]
        return rows[-1]["status"] if rows and rows[-1]["status"] != "again" else None

    def ask_again(self) -> None:
        """Let what failed or came too late run once more, and their stages with it."""
        rows = self.rows()
        for stage in dict.fromkeys(row["stage"] for row in rows):
            bad = [i for i, row in self.latest([stage]).items() if row["status"] in {"failed", "timeout"}]
            for item in bad:
                self.append(stage, item, "again")
            if not bad and self.outcome(stage) == "failed":
                self.append(stage, None, "again")

    def counts(self, stage: str) -> Counter[str]:
        """Return how many items have which status."""
        return Counter(row["status"] for row in self.latest([stage]).values())


def _torn(file: Any) -> bool:
    end = file.seek(0, os.SEEK_END)
    if not end:
        return False
    file.seek(end - 1)
    return bool(file.read(1) != b"\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, those of all runs; what is no row of ours is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"run", "stage", "item", "status"} <= set(row):
            rows.append(row)
    return rows


def run_key(backend: str) -> str:
    """Return what results depend on: the sources, the device and the driver. Other results are another run's."""
    digest = hashlib.sha256(f"{backend} {graphics_card() if backend == 'cupy' else ''}".encode())
    for folder in _SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".cu", ".cuh", ".cpp", ".h"} and path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def graphics_card() -> str:
    """Return name and driver of the device as nvidia-smi prints them, or why it does not."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({error})"
