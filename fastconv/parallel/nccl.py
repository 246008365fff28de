"""Ranks with a GPU each, which talk by NCCL; MPI starts them, and carries what is on the host.

Written to the interface of `cupyx.distributed` and executed against an imitation of it only: no machine that tests the
project is sure to have two GPUs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import BackendUnavailableError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.mpi import MPICommunicator
from fastconv.parallel.tree import sum_in_order


class NCCLCommunicator(Communicator):
    """The `Communicator` of processes of which each has a GPU of its own.

    Parameters
    ----------
    host : Communicator or None
        Carries NumPy arrays, starts and ends the job; MPI by default.
    device : object or None
        What `cupyx.distributed.init_process_group` returns; that of this process by default, on the GPU that is the
        current one: choose it before.

    Raises
    ------
    BackendUnavailableError
        CuPy is not installed, or without NCCL.

    Examples
    --------
    >>> parallel = fc.parallel.DataParallel(fc.parallel.NCCLCommunicator())  # doctest: +SKIP
    >>> parallel  # doctest: +SKIP
    DataParallel(rank 0 of 2, 8 shards)
    """

    rank = 0  # until it is asked
    size = 1

    def __init__(self, host: Communicator | None = None, device: Any = None) -> None:
        self._host: Communicator = MPICommunicator() if host is None else host
        self.rank, self.size = self._host.rank, self._host.size
        self._gpu: Any = None
        if device is None:
            device, self._gpu = _group(self.rank, self.size)
        self._device = device

    def __repr__(self) -> str:
        return f"NCCLCommunicator(rank {self.rank} of {self.size})"

    def use_device(self) -> None:
        """Make this rank's GPU the current one of the present thread: a new thread begins on the first of the host."""
        if self._gpu is not None:
            self._gpu.use()

    def allreduce(self, buffer: Array, *, ordered: bool = True, bf16: bool = False) -> None:
        if lies_on_host(buffer):
            self._host.allreduce(buffer, ordered=ordered, bf16=bf16)
        elif self.size > 1 and not bf16 and (not ordered or self.size == 2):
            self._device.all_reduce(buffer, buffer, "sum")
        elif self.size > 1:
            sum_in_order(buffer.reshape(-1), self.size, self._exchange, self._collect, bf16=bf16)

    def _exchange(self, mine: Array, theirs: Array) -> None:
        self._device.all_to_all(mine.view(np.uint8), theirs.view(np.uint8))  # it has no type for bfloat16

    def _collect(self, mine: Array, everything: Array) -> None:
        self._device.all_gather(mine.view(np.uint8), everything.view(np.uint8), mine.nbytes)

    def broadcast(self, buffer: Array, root: int = 0) -> None:
        if lies_on_host(buffer):
            self._host.broadcast(buffer, root)
        else:
            self._device.broadcast(buffer, root)

    def barrier(self) -> None:
        self._host.barrier()

    def abort(self, code: int = 1) -> None:
        self._host.abort(code)


def lies_on_host(buffer: Array) -> bool:
    """Tell whether an array is NumPy's."""
    return isinstance(buffer, np.ndarray)


def _group(rank: int, size: int) -> tuple[Any, Any]:
    """Return what carries arrays of the device, and the device that is the current one."""
    try:
        from cupy.cuda import Device
        from cupyx import distributed

        return distributed.init_process_group(size, rank, use_mpi=True), Device()
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailableError(
            f"communicator: got NCCL, which CuPy cannot use here ({error}); allowed: CuPy with NCCL (pip install"
            " 'fastconv[cuda12,mpi]' nvidia-nccl-cu12) and a GPU for each rank, or MPI"
        ) from error
