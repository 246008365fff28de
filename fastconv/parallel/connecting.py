"""Which communicator a program gets that names none."""

from __future__ import annotations

from fastconv.parallel.communicator import Communicator
from fastconv.parallel.single import SingleProcess
from fastconv.parallel.starting import started_together


def connect() -> Communicator:
    """Return the communicator of this process: MPI's, if an MPI launcher started several, else that of one alone."""
    if started_together() == 1:
        return SingleProcess()
    from fastconv.parallel.mpi import MPICommunicator

    return MPICommunicator()
