"""Start a program on several processes of this machine, or of those that the site's mpiexec knows of.

The job ends as a whole. An error on one rank ends all of them (`fastconv.parallel.rank`), so does a rank that the
others have waited for too long (`fastconv.parallel.watchdog`), and none outlives the command that started them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import FrameType

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.parallel.launcher import Launcher, find_launcher
from fastconv.parallel.watchdog import TIMEOUT_VARIABLE

THREAD_VARIABLES = ("FASTCONV_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
RESTART_VARIABLE = "FASTCONV_RESTART"
"""How often the job was started again, for a program that goes on from its last state then."""
_ENDING, _TELLING = (signal.SIGINT, signal.SIGTERM), signal.SIGUSR1
"""Signals that are handed on to the ranks: what ends the job, and what only tells it that its time is nearly over."""
_GRACE = 10.0  # seconds that ranks have to end by themselves after a signal
_PR_SET_PDEATHSIG = 1


def threads_of(num_processes: int, threads: int | None, cores: int) -> int:
    """Return how many threads each rank gets: the cores of this process shared out, unless it is said.

    Raises
    ------
    ArgumentError
        There would be more threads than cores. One thread a rank is allowed all the same, with a warning.
    """
    each = max(1, cores // num_processes) if threads is None else validate.at_least_one(threads, "threads")
    if num_processes * each > cores:
        if each > 1:
            raise ArgumentError(
                f"threads: got {each} for each of {num_processes} ranks on {cores} cores, which would take turns;"
                f" allowed: at most {max(1, cores // num_processes)}"
            )
        warnings.warn(
            f"{num_processes} ranks on {cores} cores take turns: right for a test, and slower than {cores} ranks",
            stacklevel=3,
        )
    return each


def environment_of(threads: int, timeout: float) -> dict[str, str]:
    """Return the environment of ranks with so many threads each, and so many seconds that they wait for each other."""
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), TIMEOUT_VARIABLE: str(timeout)}


def launch(
    words: Sequence[str],
    num_processes: int,
    *,
    threads: int | None = None,
    max_restarts: int = 0,
    restart: Sequence[str] | None = None,
    timeout: float = 600.0,
    mpiexec: str | None = None,
) -> int:
    """Run a program on several ranks, and return its exit status: 0, or that of the rank that failed.

    SIGINT and SIGTERM end the job; SIGUSR1 is handed on to the ranks, for `fastconv.training.StopOnSignal`. A job that
    ends with 75 (``os.EX_TEMPFAIL``) has stopped as it was told to, and is not started again.

    Parameters
    ----------
    words : sequence of str
        A script and its arguments, or ``-m``, a module and its arguments.
    num_processes : int
        How many ranks.
    threads : int or None
        Of each rank; by default the cores that this process may use are shared out. Set before Python starts, as Numba,
        OpenMP and OpenBLAS read it then.
    max_restarts : int
        How often a job that failed is started again. The environment variable ``FASTCONV_RESTART`` counts.
    restart : sequence of str or None
        What is run then, `words` by default.
    timeout : float
        Seconds that a rank waits for the others in one call before it ends the job; 0: for ever.
    mpiexec : str or None
        The path of one; by default that beside Python, else that of the PATH.

    Returns
    -------
    int
        0, or the status of the rank that failed.

    Raises
    ------
    ArgumentError
        A value is outside of what is stated here, there would be more threads than cores (one each is only warned of),
        or there is nothing to run at `mpiexec`.
    DependencyError
        mpi4py is not installed.
    BackendUnavailableError
        There is no mpiexec, or it belongs to another MPI than the library that mpi4py loads.

    Examples
    --------
    >>> fc.parallel.launch(["train.py", "--epochs", "3"], 2, max_restarts=3)  # doctest: +SKIP
    0
    """
    num_processes = validate.at_least_one(num_processes, "num_processes")
    max_restarts = validate.at_least(max_restarts, 0, "max_restarts")
    timeout = validate.number(timeout, "timeout", low=0)
    if not words:
        raise ArgumentError("words: got none; allowed: a script, or -m and a module, and arguments")
    launcher = find_launcher(mpiexec)
    each = threads_of(num_processes, threads, len(os.sched_getaffinity(0)))
    programs = [words, *[words if restart is None else restart] * max_restarts]
    return _run_until_done(programs, partial(_run_job, launcher, num_processes, environment_of(each, timeout)))


def _run_until_done(programs: Sequence[Sequence[str]], run: Callable[[list[str], int], int]) -> int:
    """Run one program after the other until one ends well or is ended by a signal; return the last one's status."""
    status, began = 0, time.monotonic()
    for attempt, program in enumerate(programs):
        status = run(list(program), attempt)
        if status in (0, os.EX_TEMPFAIL, 128 + signal.SIGINT, 128 + signal.SIGTERM):
            break
        if attempt + 1 < len(programs):
            print(
                f"the job ended with {status} after {time.monotonic() - began:.0f} s;"
                f" started again, {attempt + 1} of at most {len(programs) - 1} times",
                file=sys.stderr,
            )
    return status


def _run_job(
    launcher: Launcher, num_processes: int, environment: Mapping[str, str], program: list[str], attempt: int
) -> int:
    environment = {**environment, RESTART_VARIABLE: str(attempt)}
    ranks = [sys.executable, "-m", "fastconv.parallel.rank", *program]
    command = launcher.command(num_processes, ranks)
    sys.stdout.flush()
    received: list[int] = []
    with subprocess.Popen(command, env=environment, preexec_fn=die_with_parent()) as job:  # noqa: S603 - no shell
        before = [(number, signal.signal(number, _passes(job, received))) for number in _ENDING]
        before.append((_TELLING, signal.signal(_TELLING, _passes(job, []))))
        try:
            while True:
                try:
                    status = job.wait(timeout=_GRACE if received else None)
                    break
                except subprocess.TimeoutExpired:
                    job.kill()
        finally:
            for number, handler in before:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: it was not Python's
    if received:
        return 128 + received[0]
    return 128 - status if status < 0 else status


def _passes(job: subprocess.Popen[bytes], received: list[int]) -> Callable[[int, FrameType | None], None]:
    """Return a handler that hands a signal on, for a shell gives SIGTERM to this process only."""

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        job.send_signal(number)

    return handle


def die_with_parent() -> Callable[[], None]:
    """Return what a process calls to be killed when its parent ends, however that ends. Linux only, as fastconv is."""
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
