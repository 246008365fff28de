from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from fastconv.errors import BackendUnavailableError, DependencyError
from fastconv.parallel import MPICommunicator, connect
from fastconv.parallel.tree import from_bf16, in_tree, to_bf16
from tests.parallel.jobs import run_job

_SUMS = """
    import sys, numpy as np
    from fastconv.parallel import connect
    communicator = connect()
    rank, size = communicator.rank, communicator.size
    rng = np.random.default_rng(5)
    terms = (rng.standard_normal((size, 5000)) * 10.0 ** rng.integers(-6, 6, (size, 1))).astype(np.float32)
    found = []
    for settings in ({}, {"ordered": False}, {"bf16": True}):
        buffer = terms[rank].copy()
        communicator.allreduce(buffer, **settings)
        found.append(buffer)
    numbers = np.array([rank + 1, 2**40], np.int64)
    communicator.allreduce(numbers)
    text = np.frombuffer(f"from {rank}".encode(), np.uint8).copy()
    communicator.broadcast(text, size - 1)
    communicator.barrier()
    np.savez(f"{sys.argv[1]}/{rank}.npz", terms=terms, sums=found, numbers=numbers, text=text)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("size", [2, 4])
def test_the_calls_of_mpi(tmp_path, size):
    job = run_job(size, _SUMS, tmp_path)
    assert job.returncode == 0, job.stderr
    found = [np.load(tmp_path / f"{rank}.npz") for rank in range(size)]
    terms = found[0]["terms"]
    tree = in_tree(list(terms), lambda a, b: a + b)
    rounded = in_tree([from_bf16(to_bf16(term)) for term in terms], lambda a, b: a + b)
    for each in found:
        ordered, plain, bf16 = each["sums"]
        np.testing.assert_array_equal(ordered, tree)
        np.testing.assert_allclose(plain, terms.sum(0, dtype=np.float64), rtol=1e-5, atol=1e-6 * np.abs(terms).max())
        np.testing.assert_array_equal(plain, found[0]["sums"][1])
        np.testing.assert_array_equal(bf16, from_bf16(to_bf16(rounded)))
        assert each["numbers"].tolist() == [size * (size + 1) // 2, size * 2**40]
        assert each["text"].tobytes() == f"from {size - 1}".encode()


_DIES = """
    import sys, time
    from fastconv.parallel import connect
    communicator = connect()
    if communicator.rank == 1 or sys.argv[1] == "all":
        raise ValueError("the reason")
    communicator.barrier()
"""


@pytest.mark.mpi
@pytest.mark.parametrize("who", ["one", "all"])
def test_an_exception_ends_the_job_and_is_printed_once(who):
    began = time.monotonic()
    job = run_job(2, _DIES, who, timeout=60)
    assert job.returncode != 0
    assert job.stderr.count("ValueError: the reason") == 1
    assert f"rank {int(who == 'one')} of 2 ends the job" in job.stderr
    assert time.monotonic() - began < 30


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DependencyError, match="mpi-local"):
        MPICommunicator()


class _Alone:
    """An MPI that knows of one process."""

    COMM_WORLD = type("World", (), {"Get_rank": lambda self: 0, "Get_size": lambda self: 1})()
    Get_library_version = staticmethod(lambda: "Other MPI 1.0\nand more")


@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_processes_of_another_launcher_are_refused(monkeypatch, name):
    monkeypatch.setattr("fastconv.parallel.mpi._load", lambda: _Alone)
    monkeypatch.setenv(name, "2")
    with pytest.raises(BackendUnavailableError, match=r"2 processes, each alone in its 'Other MPI 1.0'.*mpiexec"):
        connect()
