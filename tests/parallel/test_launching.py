from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import pytest

from fastconv.errors import ArgumentError
from fastconv.parallel import launch, launching
from fastconv.parallel.launching import threads_of
from tests.parallel.jobs import ROOT, gone

_PROGRAM = """
import os, signal, sys, time
import numpy as np
from fastconv.parallel import connect

communicator = connect()
directory, what, restarted = sys.argv[1], sys.argv[2], os.environ["FASTCONV_RESTART"]
total = np.ones(1)
communicator.allreduce(total)
threads = os.environ["NUMBA_NUM_THREADS"]
with open(f"{directory}/rank{communicator.rank}-{restarted}", "w") as file:
    file.write(f"{int(total[0])} {threads} {os.environ['FASTCONV_PARALLEL_TIMEOUT']}")
if communicator.rank == 1 and restarted == "0":
    if what == "raise":
        raise ValueError("the reason")
    if what == "exit":
        sys.exit(3)
    if what == "leaves alone":
        sys.exit(75)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(60)
if what == "all leave":
    sys.exit(75)
if what == "wait":
    time.sleep(60)
communicator.barrier()
"""


@pytest.fixture
def program(tmp_path):
    """A script that ends in one way or another, and a word that none but its processes are called with."""
    path = tmp_path / f"program_{uuid.uuid4().hex}.py"
    path.write_text(_PROGRAM)
    return path


@pytest.mark.mpi
def test_ranks_share_the_cores(job_environment, program, tmp_path):
    assert launch([str(program), str(tmp_path), "nothing"], 2, timeout=30) == 0
    each = max(1, len(os.sched_getaffinity(0)) // 2)
    assert [(tmp_path / f"rank{i}-0").read_text() for i in range(2)] == [f"2 {each} 30.0"] * 2


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("what", "status"), [("raise", 1), ("exit", 3), ("kill", None), ("hang", 1), ("leaves alone", 75)]
)
def test_a_rank_that_fails_ends_the_job_soon(job_environment, program, tmp_path, capfd, what, status):
    began = time.monotonic()
    found = launch([str(program), str(tmp_path), what], 2, timeout=2)
    assert found == status if status is not None else found not in (0, None)
    assert time.monotonic() - began < 30
    assert gone(program.name, 5)
    if what == "hang":
        said = capfd.readouterr().err
        assert "rank 0 of 2 has waited 2 s for the others in barrier" in said
        assert program.name in said  # where it waits


@pytest.mark.mpi
def test_it_starts_again_as_often_as_it_may(job_environment, program, tmp_path, capfd):
    assert launch([str(program), str(tmp_path), "kill"], 2, max_restarts=2) == 0
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0-0", "rank0-1", "rank1-0", "rank1-1"]
    assert "started again, 1 of at most 2 times" in capfd.readouterr().err


@pytest.mark.mpi
def test_a_job_that_was_told_to_stop_is_not_started_again(job_environment, program, tmp_path, capfd):
    assert launch([str(program), str(tmp_path), "all leave"], 2, max_restarts=2) == 75
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0-0", "rank1-0"]
    assert "Abort" not in capfd.readouterr().err  # all left by themselves


@pytest.mark.mpi
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_rank_outlives_the_command(job_environment, program, tmp_path, number):
    code = f"from fastconv.parallel import launch; exit(launch([{str(program)!r}, {str(tmp_path)!r}, 'wait'], 2))"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as job:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("rank*"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        job.send_signal(number)
        assert job.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    assert gone(program.name, 5)


@pytest.mark.mpi
def test_a_wrong_program_is_told_of_once(job_environment, capfd):
    assert launch(["/no/such/script.py"], 2) == 2
    assert capfd.readouterr().err.count("error: script: got '/no/such/script.py', which is no file") == 1


_TWO_MPIS = """#!/bin/sh
for i in 0 1; do
  PMI_SIZE=2 PMI_RANK=$i MPI_LOCALRANKID=$i "$@" || touch "$FAILED$i" &
done
wait
"""


@pytest.mark.mpi
def test_processes_of_the_launcher_of_another_mpi_are_told_so_once(job_environment, program, tmp_path):
    """A launcher that starts processes and tells them so, which the library of none of them understands."""
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(_TWO_MPIS)
    mpiexec.chmod(0o755)
    words = [mpiexec, sys.executable, "-m", "fastconv.parallel.rank", program, tmp_path, "nothing"]
    environment = os.environ | {"FAILED": str(tmp_path / "failed")}
    job = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert job.stderr.count("error: communicator: got 2 processes, each alone in its") == 1
    assert all((tmp_path / f"failed{i}").exists() for i in range(2))
    assert not list(tmp_path.glob("rank*"))


@pytest.mark.parametrize(
    ("ranks", "threads", "cores", "each"), [(2, None, 8, 4), (3, None, 8, 2), (8, 1, 8, 1), (1, 5, 8, 5)]
)
def test_threads_of_each_rank(ranks, threads, cores, each):
    assert threads_of(ranks, threads, cores) == each


def test_more_ranks_than_cores_are_warned_of():
    with pytest.warns(UserWarning, match="4 ranks on 2 cores take turns"):
        assert threads_of(4, None, 2) == 1


def test_more_threads_than_cores_are_refused():
    with pytest.raises(ArgumentError, match=r"threads: got 3 for each of 4 ranks on 8 cores.*at most 2"):
        threads_of(4, 3, 8)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([], 2), "words: got none"),
        ((["x.py"], 0), "num_processes: got 0"),
        ((["x.py"], 1, -1.0), "timeout: got -1"),
    ],
)
def test_bad_arguments(arguments, match):
    words, count, *timeout = arguments
    with pytest.raises(ArgumentError, match=match):
        launch(words, count, **({"timeout": timeout[0]} if timeout else {}))


@pytest.mark.parametrize(
    ("statuses", "last", "starts"),
    [((0,), 0, 1), ((1, 0), 0, 2), ((1, 2, 3), 3, 3), ((1, 75), 75, 2), ((130,), 130, 1), ((143,), 143, 1)],
)
def test_it_is_started_again_until_it_ends_well_or_is_told_to(statuses, last, starts, capsys):
    calls = []

    def run(program, attempt):
        calls.append((program, attempt))
        return statuses[attempt]

    assert launching._run_until_done([["first"], ["again"], ["again"]], run) == last
    assert calls == [(["first"], 0), (["again"], 1), (["again"], 2)][:starts]
    told = capsys.readouterr().err.splitlines()
    assert [line.split("; ")[1] for line in told] == [
        f"started again, {number} of at most 2 times" for number in range(1, starts)
    ]
