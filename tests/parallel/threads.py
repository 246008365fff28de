"""Ranks that are threads of one process: the calls of a communicator, by a barrier and a list."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastconv.parallel.tree import sum_in_order

_Result = TypeVar("_Result")
_PATIENCE = 120  # seconds, for a rank that waits for one that has failed


class Job:
    """What the ranks have in common."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.turn = threading.Barrier(size, timeout=_PATIENCE)
        self.shown: list[Any] = [None] * size
        self.aborted: list[int] = []


class ThreadCommunicator:
    """The communicator of one of them. Sums that are not ordered run backwards, so that a test sees the difference."""

    def __init__(self, job: Job, rank: int) -> None:
        self._job, self.rank, self.size = job, rank, job.size

    def _show(self, value: Any) -> list[Any]:
        """Show the others a value and return all of them."""
        self._job.shown[self.rank] = np.array(value)
        self._job.turn.wait()
        found = list(self._job.shown)
        self._job.turn.wait()
        return found

    def allreduce(self, buffer: np.ndarray, *, ordered: bool = True, bf16: bool = False) -> None:
        if ordered or bf16:
            sum_in_order(buffer.reshape(-1), self.size, self.all_to_all, self.all_gather, bf16=bf16)
        else:
            *others, last = self._show(buffer)
            for other in reversed(others):
                last = last + other
            buffer[...] = last

    def all_to_all(self, mine: np.ndarray, theirs: np.ndarray) -> None:
        for row, shown in zip(theirs, self._show(mine), strict=True):
            row[...] = shown[self.rank]

    def all_gather(self, mine: np.ndarray, everything: np.ndarray, count: int = 0) -> None:
        for row, shown in zip(everything, self._show(mine), strict=True):
            row[...] = shown

    def broadcast(self, buffer: np.ndarray, root: int = 0) -> None:
        buffer[...] = self._show(buffer)[root]

    def barrier(self) -> None:
        self._job.turn.wait()

    def abort(self, code: int = 1) -> None:
        self._job.aborted.append(code)
        self._job.turn.abort()


def run_ranks(size: int, function: Callable[[ThreadCommunicator], _Result]) -> list[_Result]:
    """Call `function` with the communicator of each rank, on threads; return what they returned, or raise the cause."""
    job = Job(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadCommunicator(job, rank))
        except BaseException as error:
            errors.append(error)
            job.turn.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    real = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (real or errors)[0]
    return results
