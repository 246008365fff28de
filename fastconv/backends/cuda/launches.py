"""Launches as values: noted, listened to and run again, on whatever runs them."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastconv.kernels.cuda.runtime.device import Dim, Kernel


@dataclass(frozen=True)
class Launch:
    """One launch, as it was asked for."""

    kernel: Kernel
    grid: Dim
    block: Dim
    args: tuple[Any, ...]
    shared_bytes: int


Listener = Callable[[Launch], Callable[[], None] | None]


class LaunchList(abc.ABC):
    """A device that can be told to note launches instead of running them."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._recording = threading.local()  # other threads go on computing

    def launch(self, kernel: Kernel, grid: Dim, block: Dim, args: Sequence[Any], *, shared_bytes: int = 0) -> None:
        """Run a kernel, or put its launch down."""
        self.submit(Launch(kernel, grid, block, tuple(args), shared_bytes))

    def submit(self, launch: Launch) -> None:
        """Run a launch, or put it down."""
        recorded = getattr(self._recording, "launches", None)
        if recorded is None:
            ends = self.tell([launch])
            self.run(launch)
            for end in ends:
                end()
        else:
            recorded.append(launch)

    def tell(self, launches: Iterable[Launch]) -> Sequence[Callable[[], None]]:
        """Tell the listeners of launches; return what they want to be called when these have run."""
        if not self._listeners:
            return ()
        found = [listener(launch) for launch in launches for listener in self._listeners]
        return [end for end in found if end is not None]

    @abc.abstractmethod
    def run(self, launch: Launch) -> None:
        """Run a launch."""

    @contextmanager
    def recording(self) -> Iterator[list[Launch]]:
        """Put launches down in the list that is yielded, and run none."""
        outer = getattr(self._recording, "launches", None)
        launches: list[Launch] = []
        self._recording.launches = launches
        try:
            yield launches
        finally:
            self._recording.launches = outer

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Within this, `listener` gets each launch before it runs, of its own or in what was captured.

        What it returns for one of its own, if not None, is called after that launch.
        """
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
