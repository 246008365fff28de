"""A rank that the others wait for in vain ends the job.

MPI's calls have no limit: if one rank hangs, or was stopped, the others wait for it for ever. So who waits counts: a
call that takes longer than allowed is reported, with what every thread of this rank is doing, and the job ends.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.uncaught import end_job

TIMEOUT_VARIABLE = "FASTCONV_PARALLEL_TIMEOUT"
"""Seconds that a rank waits for the others in one call; 0 or unset: for ever."""


def seconds_allowed() -> float:
    """Return what the environment variable says; ArgumentError if it is no number of seconds."""
    text = os.environ.get(TIMEOUT_VARIABLE) or "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ArgumentError(f"{TIMEOUT_VARIABLE}: got {text!r}; allowed: a number of seconds, 0 for no limit")
    return seconds


class Watched:
    """A `Communicator` whose calls end the job if they take too long.

    Parameters
    ----------
    communicator : Communicator
        Who carries them.
    seconds : float
        How long one may take, above 0.
    """

    def __init__(self, communicator: Communicator, seconds: float) -> None:
        self._inner, self.seconds = communicator, seconds
        self.rank, self.size = communicator.rank, communicator.size
        self._pending: tuple[str, float] | None = None
        ended = threading.Event()
        weakref.finalize(self, ended.set)
        arguments = (weakref.ref(self), min(seconds / 4, 5.0), ended)
        threading.Thread(target=_watch, args=arguments, name="fastconv watchdog", daemon=True).start()

    def __repr__(self) -> str:
        return repr(self._inner)

    def allreduce(self, buffer: Array, *, ordered: bool = True, bf16: bool = False) -> None:
        """See `Communicator`."""
        with self._timed("allreduce"):
            self._inner.allreduce(buffer, ordered=ordered, bf16=bf16)

    def broadcast(self, buffer: Array, root: int = 0) -> None:
        """See `Communicator`."""
        with self._timed("broadcast"):
            self._inner.broadcast(buffer, root)

    def barrier(self) -> None:
        """See `Communicator`."""
        with self._timed("barrier"):
            self._inner.barrier()

    def abort(self, code: int = 1) -> None:
        """See `Communicator`."""
        self._inner.abort(code)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self._pending = name, time.monotonic()
        try:
            yield
        finally:
            self._pending = None

    def end_if_overdue(self) -> bool:
        """End the job if a call has taken too long, and return whether."""
        pending = self._pending
        if pending is None or time.monotonic() - pending[1] <= self.seconds:
            return False
        print(
            f"rank {self.rank} of {self.size} has waited {self.seconds:g} s for the others in {pending[0]} and"
            " ends the job; what it is doing:",
            file=sys.stderr,
        )
        faulthandler.dump_traceback(sys.stderr.fileno())
        end_job(self._inner, 1)
        return True


def _watch(watched: weakref.ref[Watched], pause: float, ended: threading.Event) -> None:
    """Look every so many seconds, until the job has ended or nobody has the watched one any more."""
    while not ended.wait(pause):
        communicator = watched()
        if communicator is None or communicator.end_if_overdue():
            return
        del communicator  # or it would stay for as long as this thread waits
