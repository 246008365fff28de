"""The plan of the run-book: its stages in their order, what each takes, and how each is started.

The seconds were measured on an H200 with 16 cores, a bare machine; see `python -m benchmarks.gpu estimate`. Those of
"steps", where each failed, of "more" and of "compiled" were not. What tells most comes first, so that a call that is
cut off has given it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_results import Setting

BUDGET = 480.0
_TELLING = "large or captured or gradients or follows_the_reference or refused or out_of_memory"
_REHEARSED = "(captured_gives and (batch_norm or relu)) or refused or out_of_memory"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    seconds : that it takes with machine code at hand
    compiling : more seconds, of the stage "cubins", for its kernels where no machine code is at hand, on 16 cores
    item_limit : seconds in which it must write something, or it is ended
    tests : the choice of tests, for a stage of pytest
    environment : variables that its processes get
    """

    name: str
    title: str
    seconds: float
    compiling: float = 0
    item_limit: float = 120
    tests: str | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def patience(self, setting: Setting) -> float:
        """Return the seconds in which it must write something; a rehearsal is not held to an H100's."""
        return self.item_limit * (10 if setting.rehearsal else 1)

    def command(self, setting: Setting, left: float) -> list[str]:
        """Return the words that start it."""
        del left
        if self.tests is not None:
            return _pytest(setting, self.name, _REHEARSED if setting.rehearsal else self.tests)
        where = ["--out", str(setting.out), "--run", setting.run, "--backend", setting.backend]
        where += ["--stages", ",".join(setting.stages)]
        return [sys.executable, "-m", "benchmarks.gpu_work", self.name, *where]

    def estimate(self, setting: Setting) -> float:
        """Return the seconds that it takes; at a rehearsal nobody knows, and none is left out."""
        return 0 if setting.rehearsal else self.expected(carried=carried() > 0, stages=setting.stages)

    def expected(self, *, carried: bool, stages: Sequence[str] = ()) -> float:
        """Return the seconds that it takes in a choice of stages, with machine code made ahead or without."""
        if carried:
            return self.seconds
        return self.seconds + sum(s.compiling for s in STAGES if s.name in (stages or NAMES) and self.compiles(s))

    def compiles(self, other: Stage) -> bool:
        """Return whether it compiles another stage's kernels; those of the first are compiled when they are run."""
        return self is other if other.name == "smoke" else self.name == "cubins"


STAGES = (
    Stage("smoke", "versions, the card, three kernels in three precisions", 8, compiling=14),
    Stage("cubins", "compile what is missing, in parallel", 8, item_limit=240),
    Stage("probes", "each function of ptx.cuh against the emulator's answers", 3),
    Stage("tests", "the tests that tell most", 10, compiling=10, tests=_TELLING),
    Stage("ops", "five layers, three passes, two precisions, against PyTorch", 43, compiling=10),
    Stage("steps", "training steps against PyTorch", 60, compiling=11),
    Stage("ncu", "counters of the profiler for the kernels that matter", 21, item_limit=150),
    Stage("rest", "all other tests that need a GPU", 22, compiling=22, tests=""),
    Stage("sanitizer", "compute-sanitizer: memcheck, racecheck", 19, compiling=4, item_limit=200),
    Stage("more", "four more layers", 35),
    Stage("compiled", "steps against torch.compile", 100, item_limit=150),
)
NAMES = tuple(stage.name for stage in STAGES)
TOGETHER = frozenset({"rest", "sanitizer"})
"""Stages that run at the same time: they measure no time, and each leaves most cores idle."""


def groups(names: Sequence[str]) -> list[list[Stage]]:
    """Return the stages of these names in the plan's order, in groups that run at the same time."""
    made: list[list[Stage]] = []
    for stage in STAGES:
        if stage.name in names:
            if made and stage.name in TOGETHER and made[-1][-1].name in TOGETHER:
                made[-1].append(stage)
            else:
                made.append([stage])
    return made


def carried() -> int:
    """Return how many files of machine code lie in the folder that FASTCONV_CACHE_DIR names."""
    folder = os.environ.get("FASTCONV_CACHE_DIR")
    return sum(1 for _ in Path(folder).rglob("*.cubin")) if folder else 0


def _pytest(setting: Setting, stage: str, chosen: str) -> list[str]:
    """Return pytest's command: the tests of the GPU, in parallel workers, nobody else's warning an error."""
    workers = 2 if setting.rehearsal else max(1, min(10, (os.cpu_count() or 2) - 4))
    words = [sys.executable, "-m", "pytest", "tests/backends/cuda/test_gpu.py", "-m", "gpu", "-k", chosen]
    words += ["-p", "benchmarks.gpu_pytest", f"--gpu-out={setting.out}", f"--gpu-run={setting.run}"]
    words += [f"--gpu-stage={stage}", "-o", "filterwarnings=", "-p", "no:cacheprovider"]
    words += ["-q", "--tb=short", "--show-capture=no"]
    if setting.rehearsal:
        words += ["-p", "tests.backends.cuda.fake_gpu"]
    if importlib.util.find_spec("xdist") and workers > 1:
        words += ["-n", str(workers), "--max-worker-restart=20"]
    if importlib.util.find_spec("pytest_timeout"):
        words += [f"--timeout={900 if setting.rehearsal else 90}", "--timeout-method=thread"]
    return words


def table() -> list[tuple[str, str, float, float]]:
    """Return name, title and estimated seconds, with machine code made ahead and without, of each stage."""
    return [(s.name, s.title, s.expected(carried=True), s.expected(carried=False)) for s in STAGES]


def total(*, carried: bool) -> float:
    """Return the estimated seconds of all stages; those that run at the same time count as their longest."""
    every = groups([stage.name for stage in STAGES])
    return sum(max(stage.expected(carried=carried) for stage in group) for group in every)
