"""Functions that run one at a time, each up to the place where all of them meet.

Python has no coroutines that may wait within a function that was called; threads may, of which only one runs at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class _BrokenOffError(RuntimeError):
    """Another one has failed."""


class LockStep(Generic[_Result]):
    """Runs functions so, each in a copy of the context of who calls `run`.

    Parameters
    ----------
    functions : sequence of callable
        All of them meet equally often.
    turn_to : callable
        Called with the number of the function whose turn it is, before it goes on.
    """

    def __init__(self, functions: Sequence[Callable[[], _Result]], turn_to: Callable[[int], None]) -> None:
        self._functions, self._turn_to = functions, turn_to
        self._baton = threading.Condition()
        self._turn = 0
        self._brought: list[Any] = [None] * len(functions)
        self._common: Any = None
        self._error: BaseException | None = None

    def run(self) -> list[_Result]:
        """Return what they returned; raise what the first one raised that failed."""
        results: list[Any] = [None] * len(self._functions)

        def work(number: int) -> None:
            try:
                self._wait_for(number)
                results[number] = self._functions[number]()
            except _BrokenOffError:
                return
            except BaseException as error:
                self._error = error
            self._pass_on(number)

        threads = [threading.Thread(target=copy_context().run, args=(work, i)) for i in range(len(results))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:  # an interrupt, which comes to this thread only: nothing may go on after it
            with self._baton:
                self._error = error
                self._baton.notify_all()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join()
            raise
        if self._error is not None:
            raise self._error
        return results

    def meet(self, number: int, value: Any, common: Callable[[list[Any]], Any]) -> Any:
        """Bring a value, and return what `common` makes of those of all."""
        self._brought[number] = value
        if number == len(self._brought) - 1:
            self._common = common(list(self._brought))
        self._pass_on(number)
        self._wait_for(number)
        return self._common

    def _pass_on(self, number: int) -> None:
        with self._baton:
            self._turn = (number + 1) % len(self._functions)
            self._baton.notify_all()

    def _wait_for(self, number: int) -> None:
        with self._baton:
            self._baton.wait_for(lambda: self._turn == number or self._error is not None)
        if self._error is not None:
            raise _BrokenOffError
        self._turn_to(number)
