"""Which communicator a program gets that names none."""

from __future__ import annotations

from fastconv.parallel.communicator import Communicator
from fastconv.parallel.mpi import MPICommunicator, started_together
from fastconv.parallel.single import SingleProcess


def connect() -> Communicator:
    """Return the communicator of this process: MPI's, if an MPI launcher started several, else that of one alone."""
    return MPICommunicator() if started_together() > 1 else SingleProcess()
