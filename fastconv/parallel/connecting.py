"""Which communicator a program gets that names none."""

from __future__ import annotations

from fastconv.parallel.communicator import Communicator
from fastconv.parallel.single import SingleProcess
from fastconv.parallel.starting import started_together


def connect() -> Communicator:
    """Return the communicator of this process: MPI's, if an MPI launcher started several, else that of one alone.

    With ``FASTCONV_PARALLEL_TIMEOUT`` in the environment, as `launch` sets it, a call that takes longer ends the job.

    Returns
    -------
    Communicator
        Of this process.

    Examples
    --------
    >>> fc.parallel.connect().size
    1
    """
    if started_together() == 1:
        return SingleProcess()
    from fastconv.parallel.mpi import MPICommunicator
    from fastconv.parallel.watchdog import Watched, seconds_allowed

    communicator, seconds = MPICommunicator(), seconds_allowed()
    return Watched(communicator, seconds) if seconds else communicator
