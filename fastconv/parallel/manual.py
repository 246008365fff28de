"""Jobs whose parts somebody else starts: MPICH's mpiexec with ``-launcher manual``, which starts nothing itself.

It prints the command of a process manager for each host. Whoever can run these, there, has the ranks: the tasks of a
Spark stage, or a shell in a network namespace.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from fastconv.errors import ParallelError
from fastconv.parallel.launcher import find_launcher
from fastconv.parallel.launching import die_with_parent

_OF_HYDRA = ("=", "YOUR APPLICATION", "This typically", "Please see", "Abort(")


class OutputReader(threading.Thread):
    """Hands on what a job prints, and keeps the last line that says something."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.last = "it said nothing"
        self.stream: Any = ()

    def run(self) -> None:
        """Read to the end."""
        for line in self.stream:
            sys.stderr.write(line)
            if line.strip(" =\n") and not line.startswith(_OF_HYDRA):
                self.last = line.strip()


def start_managers(
    words: Sequence[str],
    hosts: Sequence[str],
    environment: Mapping[str, str],
    said: OutputReader,
    prefix: Sequence[str] = (),
) -> tuple[subprocess.Popen[str], list[str]]:
    """Start an mpiexec for a rank of `words` on each host; return it, and the command to run on each.

    Parameters
    ----------
    hosts : sequence of str
        Names by which MPI finds them, if it has to.
    environment : mapping
        Of the mpiexec and all ranks.
    said : OutputReader
        Reads what the ranks print.
    prefix : sequence of str
        What the mpiexec itself is started by.

    Raises
    ------
    ParallelError
        The mpiexec is not MPICH's.
    """
    launcher = find_launcher()
    if launcher.family != "MPICH":
        raise ParallelError(
            f"job: got {launcher.family or launcher.path}; allowed: MPICH's mpiexec (pip install mpich)"
        )
    command = [*prefix, launcher.path, "-launcher", "manual", "-hosts", ",".join(hosts), "-ppn", "1"]
    command += ["-n", str(len(hosts)), sys.executable, "-m", "fastconv.parallel.rank", *words]
    job = subprocess.Popen(  # noqa: S603 - no shell
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent(),
    )
    said.stream = job.stdout
    managers = []
    for line in said.stream:
        if line.startswith("HYDRA_LAUNCH_END"):
            break
        if line.startswith("HYDRA_LAUNCH:"):
            managers.append(line.split(":", 1)[1].strip())
    if len(managers) != len(hosts):
        end(job)
        raise ParallelError(f"job: got {len(managers)} process managers of mpiexec; allowed: {len(hosts)}")
    said.start()
    return job, managers


def wait_for(job: subprocess.Popen[str], said: OutputReader) -> int:
    """Return the status of the mpiexec, which ends when its process managers have, once all it said was read."""
    try:
        status = job.wait(timeout=30)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        status = 1
    said.join(timeout=30)
    if job.stdout is not None and not said.is_alive():
        job.stdout.close()
    return status


def end(job: subprocess.Popen[str]) -> None:
    """Kill an mpiexec that nobody waits for, if it is there still."""
    if job.poll() is None:
        job.kill()
        job.wait()
        if job.stdout is not None:
            job.stdout.close()
