from __future__ import annotations

import subprocess
import sys

import numpy as np

from fastconv.parallel import SingleProcess, connect


def test_nothing_changes():
    communicator, values = SingleProcess(), np.array([1.0, 2.0], np.float32)
    communicator.allreduce(values, bf16=True)
    communicator.broadcast(values)
    communicator.barrier()
    assert values.tolist() == [1.0, 2.0]
    assert (communicator.rank, communicator.size) == (0, 1)


def test_abort_ends_the_process():
    code = "from fastconv.parallel import SingleProcess; SingleProcess().abort(7)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_one_process_is_single(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(connect(), SingleProcess)
