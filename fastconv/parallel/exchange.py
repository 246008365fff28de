"""One thread that talks to the other ranks, in the order in which it was asked to.

So all calls of a job come in one order on every rank, whoever asks: the thread that computes for a normalisation's
statistics, and meanwhile for buckets of gradients. It needs nothing of MPI but that one thread calls at a time.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Promise(Generic[_Result]):
    """What was asked for, and comes."""

    def __init__(self, function: Callable[[], _Result]) -> None:
        self._function = function
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._result: _Result

    def keep(self) -> None:
        """Do it."""
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
        self._done.set()

    def wait(self) -> _Result:
        """Return the result when it is there, or raise what went wrong."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result


class Exchange:
    """The thread, begun when it is first needed; it ends with this object, after what was asked for before.

    Parameters
    ----------
    begin : callable or None
        Called on the thread before all else, for what belongs to a thread: the GPU that it uses.
    """

    def __init__(self, begin: Callable[[], None] | None = None) -> None:
        self._begin = begin
        self._asked: queue.SimpleQueue[Promise[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def later(self, function: Callable[[], _Result]) -> Promise[_Result]:
        """Call `function` on the thread, after what was asked for before."""
        if self._thread is None:
            name = "fastconv exchange"
            self._thread = threading.Thread(target=_work, args=(self._asked, self._begin), name=name, daemon=True)
            self._thread.start()
            weakref.finalize(self, self._asked.put, None)
        promise = Promise(function)
        self._asked.put(promise)  # type: ignore[arg-type]  # what it gives is for who waits
        return promise

    def now(self, function: Callable[[], _Result]) -> _Result:
        """Call `function` there and return what it gives; here, if the thread has never been needed."""
        return function() if self._thread is None else self.later(function).wait()


def _work(asked: queue.SimpleQueue[Promise[object] | None], begin: Callable[[], None] | None) -> None:
    if begin is not None:
        begin()
    while (promise := asked.get()) is not None:
        promise.keep()
        del promise  # or what it gave would stay until the next one comes
