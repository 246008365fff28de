"""Ranks that talk by MPI, through mpi4py.

Arrays on a GPU go by way of the host: the MPI libraries that pip installs know nothing of GPUs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import BackendUnavailableError, DependencyError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.starting import started_together
from fastconv.parallel.tree import sum_in_order
from fastconv.parallel.uncaught import end_job_on_uncaught


class MPICommunicator(Communicator):
    """The `Communicator` of all processes that an MPI launcher started together.

    An exception that nobody catches ends all of them (see `fastconv.parallel.uncaught`): else the others would wait for
    this one forever.

    Raises
    ------
    DependencyError
        mpi4py is not installed.
    BackendUnavailableError
        It finds no MPI library, or another one than the launcher's.

    Examples
    --------
    >>> communicator = fc.parallel.MPICommunicator()  # doctest: +SKIP
    >>> total = np.ones(2)
    >>> communicator.allreduce(total)  # doctest: +SKIP
    >>> total  # as many ones as there are ranks  # doctest: +SKIP
    array([2., 2.])
    """

    rank = 0  # until it is asked
    size = 1

    def __init__(self) -> None:
        self._mpi = _load()
        self._world = self._mpi.COMM_WORLD
        self.rank = self._world.Get_rank()
        self.size = self._world.Get_size()
        if self.size == 1:
            _check_starter(self._mpi)
        else:
            end_job_on_uncaught(self)

    def __repr__(self) -> str:
        return f"MPICommunicator(rank {self.rank} of {self.size})"

    def allreduce(self, buffer: Array, *, ordered: bool = True, bf16: bool = False) -> None:
        if self.size == 1:
            return
        host = _on_host(buffer)
        flat = host.reshape(-1)
        # Of two terms there is one order.
        if not bf16 and (not ordered or self.size == 2):
            self._world.Allreduce(self._mpi.IN_PLACE, flat)
        else:
            sum_in_order(flat, self.size, self._world.Alltoall, self._world.Allgather, bf16=bf16)
        _put_back(host, buffer)

    def broadcast(self, buffer: Array, root: int = 0) -> None:
        host = _on_host(buffer)
        self._world.Bcast(host.reshape(-1), root)
        _put_back(host, buffer)

    def barrier(self) -> None:
        self._world.Barrier()

    def abort(self, code: int = 1) -> None:
        self._world.Abort(code)


def _load() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise DependencyError(
            "communicator: got MPI, and mpi4py is not installed; allowed: pip install 'fastconv[mpi]' beside an MPI of"
            " the site, or 'fastconv[mpi-local]', which brings one"
        ) from error
    except RuntimeError as error:
        raise BackendUnavailableError(
            f"communicator: got MPI, and mpi4py finds no MPI library ({error}); allowed: pip install"
            " 'fastconv[mpi-local]', or an MPI of the site on LD_LIBRARY_PATH"
        ) from error
    return MPI


def _check_starter(mpi: Any) -> None:
    """Refuse to be one of several processes of which each believes to be alone."""
    count = started_together()
    if count > 1:
        library = mpi.Get_library_version().split("\n")[0].strip(" \0\r")
        raise BackendUnavailableError(
            f"communicator: got {count} processes, each alone in its {library!r}: they were started by the launcher of"
            " another MPI; allowed: the mpiexec of the same installation (python -m mpi4py --mpi-lib-version shows it)"
        )


def _on_host(buffer: Array) -> np.ndarray:
    if isinstance(buffer, np.ndarray):
        return buffer
    copied: np.ndarray = buffer.get()  # CuPy's
    return copied


def _put_back(host: np.ndarray, buffer: Array) -> None:
    if host is not buffer:
        buffer.set(host)
