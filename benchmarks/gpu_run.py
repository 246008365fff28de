"""Runs the stages of the run-book, each in a process of its own, and touches no GPU itself.

A stage is a list of items; its process writes a row when an item begins and one when it ends. Where the process is lost
in between (an illegal address, after which every call to CUDA fails, an abort, a hang), the item gets a row that says
so, with the end of the output, and a new process goes on with the next item. A stage that makes no progress at all is
given up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu_plan import Stage
from benchmarks.gpu_results import FINISHED, POISONED, ROOT, Results, Setting

_TAIL = 3000
_LOG_LIMIT = 8 << 20  # bytes; what came first and last is kept


class Runner:
    """Runs stages within a budget of seconds, counted from when it is made."""

    def __init__(self, setting: Setting, budget: float, tell: Callable[[str], None] = print) -> None:
        self.setting, self.budget, self.tell = setting, budget, tell
        self.results = Results(setting)
        self.log = setting.out / "gpu.log"
        self._began = time.monotonic()

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.budget - (time.monotonic() - self._began)

    def run(self, stages: list[Stage]) -> None:
        """Run stages at the same time: one, or several that measure no time."""
        threads = [threading.Thread(target=self.run_stage, args=(stage,), daemon=True) for stage in stages]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run_stage(self, stage: Stage) -> None:
        """Run a stage unless it is done, or does not fit."""
        if self.results.outcome(stage.name) == "done" and stage.name != "cubins":  # another choice needs more of them
            self.tell(f"{stage.name}: done before")
            return
        need, left = stage.estimate(self.setting), self.left()
        if need > left:
            message = f"estimated {need:.0f} s, {max(left, 0):.0f} s left of {self.budget:.0f}"
            self.results.append(stage.name, None, "skipped", message=message)
            self.tell(f"{stage.name}: skipped, {message}")
            return
        self.tell(f"{stage.name}: estimated {need:.0f} s, {left:.0f} s left")
        begin = time.monotonic()
        found = self._to_the_end(stage)
        seconds = round(time.monotonic() - begin, 1)
        self.results.append(stage.name, None, **found, seconds=seconds, estimated=need)
        counts = ", ".join(f"{n} {status}" for status, n in sorted(self.results.counts(stage.name).items()))
        self.tell(f"{stage.name}: {found['status']} in {seconds:.1f} s ({counts or 'no rows'})")
        if found["status"] == "failed":
            self.tell(found["message"] + "\n" + found["tail"])
        _shorten(self.log)

    def _to_the_end(self, stage: Stage) -> dict[str, Any]:
        """Start processes until the stage has come to its end, or one of them made no progress."""
        while True:
            before = self._answered(stage)
            code, late, tail = self._process(stage)
            if code == 0:
                return {"status": "done"}
            reason = f"too late: {late}" if late else _ended(code)
            item = self.results.open_item(stage.name)
            if item is not None:
                status = "timeout" if late else "failed"
                self.results.append(stage.name, item, status, message=f"the process ended: {reason}", tail=tail)
                self.tell(f"{stage.name} {item}: {reason}")
            if self._answered(stage) == before or self.left() < 0:
                return {"status": "failed", "message": reason, "tail": tail}
            self.tell(f"{stage.name}: {reason}; another process goes on")

    def _answered(self, stage: Stage) -> int:
        return sum(n for status, n in self.results.counts(stage.name).items() if status in FINISHED)

    def _written(self, stage: Stage) -> int:
        return sum(row["stage"] == stage.name for row in self.results.rows())

    def _process(self, stage: Stage) -> tuple[int, str, str]:
        """Run one process; return its exit status, why it was ended by us or "", and the end of its output."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        private = self.log.with_name(f".{stage.name}.log")
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"} | dict(stage.environment)
        with private.open("wb+") as output:
            try:
                process = subprocess.Popen(
                    stage.command(self.setting, self.left()),
                    **{"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT},
                    **{"cwd": ROOT, "env": environment, "process_group": 0},
                )
            except OSError as error:
                return 1, "", str(error)
            try:
                late = self._watch(process, stage)
            finally:  # also where we are interrupted: nothing of it may stay
                _kill(process)
        text = private.read_bytes()
        with self.log.open("ab") as log:
            log.write(f"\n=== {stage.name}: exit {process.returncode} {late}\n".encode() + text)
        private.unlink()
        return process.returncode, late, text[-_TAIL:].decode(errors="replace")

    def _watch(self, process: subprocess.Popen[bytes], stage: Stage) -> str:
        """Wait for the end; return why it was not waited for, or ""."""
        seen, last, limit = self._written(stage), time.monotonic(), stage.patience(self.setting)
        while True:
            try:
                process.wait(timeout=0.3)
                return ""
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            if (written := self._written(stage)) != seen:
                seen, last = written, now
            if now - last > limit:
                return f"nothing new for {limit:.0f} s"
            if self.left() < 0:
                return f"the budget of {self.budget:.0f} s is spent"


def _ended(code: int) -> str:
    if code == POISONED:
        return "CUDA fails in this process since an error"
    return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shorten(log: Path) -> None:
    """Take the middle out of a log that has grown too long to travel."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        text = log.read_bytes()
        part = _LOG_LIMIT // 4
        log.write_bytes(text[:part] + b"\n=== left out ===\n" + text[-part:])
