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
    """Runs tests in one copy of the tree, and knows which of them pass there without a fault."""

    def __init__(self, copy: Path, deadline: float = DEADLINE) -> None:
        self._copy, self._deadline = copy, deadline
        self._passes: dict[tuple[str, ...], bool] = {}
        self._environment = environment(copy)

    def __call__(self, fault: Fault, *, whole: bool = False) -> Outcome:
        """Plant a fault and run the tests of its file, stage by stage, until one fails."""
        begin, asked = time.perf_counter(), []
        for words in (*stages(fault.file, self._copy), *([EVERYTHING] if whole else [])):
            if not self._passes_without(words):
                continue
            with planted(self._copy, fault):
                status, by = self.run(words)
            asked.append(" ".join(words))
            if status != "passed":
                return Outcome("hung" if status == "hung" else "killed", by, time.perf_counter() - begin)
        if not asked:
            raise RuntimeError(
                f"{fault.file}: none of its tests passes without a fault: {stages(fault.file, self._copy)}"
            )
        return Outcome("survived", "; ".join(asked), time.perf_counter() - begin)

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
        if process.returncode == 4:
            raise RuntimeError(f"pytest does not take {words}:\n{output[-2000:]}")
        if process.returncode in (0, 5):
            return ("passed", "") if process.returncode == 0 else ("empty", "")
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
        return "failed", failed.group(1) if failed else output.strip().rpartition("\n")[2][:200]

    def _passes_without(self, words: tuple[str, ...]) -> bool:
        """Tell whether these tests pass on the tree as it is; others can't show anything."""
        if words not in self._passes:
            status, by = self.run(words)
            if status in ("failed", "hung"):
                print(f"    not asked, for it fails without a fault too: {by}", flush=True)
            self._passes[words] = status == "passed"
        return self._passes[words]


def _go_first() -> None:
    """Let Linux end these tests and nothing else where a fault in a size takes all the memory."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end(process: subprocess.Popen[str]) -> None:
    """End the tests with what they started, which is in a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
