"""Plants faults in a copy of the tree and runs the tests there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.copied_tree import environment, pytest_command
from tests.plant.chosen import EVERYTHING, NOT_ASKED, stages
from tests.plant.faults import Fault

DEADLINE = 900  # seconds for one run of pytest; more has hung


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: "killed", "hung", or "survived"; by what, after how many seconds."""

    status: str
    by: str
    seconds: float


@contextmanager
def planted(copy: Path, fault: Fault) -> Iterator[None]:
    """Put the fault into the copy, and take it out again."""
    place = copy / fault.file
    right = place.read_text()
    place.write_text(fault.planted(right))
    try:
        yield
    finally:
        place.write_text(right)


class Trial:
    """Runs tests in one copy of the tree, and knows which of them fail there without a fault."""

    def __init__(self, copy: Path, deadline: float = DEADLINE) -> None:
        self._copy, self._deadline = copy, deadline
        self._broken: list[str] = []
        self._environment = environment(copy)

    def __call__(self, fault: Fault, *, words: Sequence[str] = (), whole: bool = False) -> Outcome:
        """Plant a fault and run the tests of its file, stage by stage, or those of `words`, until one fails."""
        begin, asked = time.perf_counter(), []
        found = [tuple(words)] if words else stages(fault.file, self._copy)
        for stage in (*found, *([EVERYTHING] if whole else [])):
            status, by = self._try(fault, stage)
            if status in ("failed", "hung"):
                return Outcome("killed" if status == "failed" else "hung", by, time.perf_counter() - begin)
            if status == "passed":
                asked.append(" ".join(stage))
        if not asked:
            raise RuntimeError(f"{fault.file}: none of its tests passes without a fault: {found}")
        return Outcome("survived", "; ".join(asked), time.perf_counter() - begin)

    def _try(self, fault: Fault, words: Sequence[str]) -> tuple[str, str]:
        """Run tests with a fault; one that fails without it too is left out, and they run again."""
        while True:
            with planted(self._copy, fault):
                status, by = self.run((*words, *(f"--deselect={test}" for test in self._broken)))
            if status == "hung" and self.run(words)[0] != "passed":
                raise RuntimeError(f"{' '.join(words)}: more than {self._deadline:.0f} s without a fault too")
            if status != "failed" or not by.startswith("tests/") or self.run([by, "-m", ""])[0] == "passed":
                return status, by
            if by in self._broken:
                return "empty", ""
            print(f"    left out, for it fails without a fault too: {by}", flush=True)
            self._broken.append(by)

    def run(self, words: Sequence[str]) -> tuple[str, str]:
        """Run pytest; return "passed", "failed", "hung" or "empty", and the test that failed."""
        ignored = [f"--ignore-glob=*/{name}" for name in NOT_ASKED]
        command = pytest_command("-o", "timeout=600", *ignored, *words)
        process = subprocess.Popen(
            command,
            cwd=self._copy,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_go_first,
        )
        try:
            output = process.communicate(timeout=self._deadline)[0]
        except subprocess.TimeoutExpired:
            return "hung", " ".join(words)
        finally:
            _end(process)
        if process.returncode == 4 and "while loading conftest" not in output:
            raise RuntimeError(f"pytest does not take {words}:\n{output[-2000:]}")
        if process.returncode in (0, 5):
            return ("passed", "") if process.returncode == 0 else ("empty", "")
        found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$|^(Fatal Python error: .*)", output, re.M)
        return "failed", found[1] or found[2] if found else output.strip().rpartition("\n")[2][:200]


def _go_first() -> None:
    """Let Linux end these tests and nothing else where a fault in a size takes all the memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end(process: subprocess.Popen[str]) -> None:
    """End the tests with what they started, which is in a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
