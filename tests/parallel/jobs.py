"""Jobs of several processes, started as users start them: by the mpiexec of this environment, or of the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

_THREADS = ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
ROOT = Path(__file__).resolve().parents[2]


@cache
def launcher() -> tuple[str, ...]:
    """The command that starts ranks; the test is skipped where there is none."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if find_spec("mpi4py") is None or found is None:
        pytest.skip("mpi4py and an mpiexec: pip install 'fastconv[mpi-local]'")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return (found, "--oversubscribe") if "Open MPI" in version or "OpenRTE" in version else (found,)


def run_job(
    size: int, code: str, *arguments: object, timeout: float = 240, launch: tuple[str, ...] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code on so many ranks of one thread each."""
    allowed = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_hwloc_base_binding_policy": "none",
    }
    threads = dict.fromkeys(_THREADS, "1")
    command = [
        *(launch or launcher()),
        "-n",
        str(size),
        sys.executable,
        "-c",
        textwrap.dedent(code),
        *map(str, arguments),
    ]
    environment = {**os.environ, **threads, **allowed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=ROOT
    )


def processes(word: str) -> list[int]:
    """The processes that `word` is an argument of, this one left out."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            try:
                words = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in words:
                found.append(int(directory.name))
    return found


def rank_process(word: str, rank: int) -> int:
    """The process that is this rank of a job whose program `word` is an argument of."""
    told = [f"{name}={rank}".encode() for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK")]
    (found,) = [
        number
        for number in processes(word)
        if not (Path(f"/proc/{number}/cmdline").read_bytes()).split(b"\0")[0].endswith(b"mpiexec")
        and any(each in Path(f"/proc/{number}/environ").read_bytes().split(b"\0") for each in told)
    ]
    return found


def gone(word: str, seconds: float) -> bool:
    """Tell whether no process that `word` is an argument of is left within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not processes(word):
            return True
        time.sleep(0.1)
    return False
