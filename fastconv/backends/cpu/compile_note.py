"""A word when compiling takes long: half a minute of silence at a kernel's first call looks like a hang.

The word goes to the logger ``fastconv`` as a warning, which Python shows on stderr unless the program sets up logging
of its own.
"""

from __future__ import annotations

import functools
import logging
from time import perf_counter
from typing import Any

from numba.core import event

PATIENCE = 2.0  # seconds
TEXT = "compiling kernels: once for this CPU, up to a minute for a large model"

_logger = logging.getLogger("fastconv")


class CompileNote(event.Listener):  # type: ignore[misc]  # Numba has no types
    """Adds up the time that kernels take to compile, and says so once when it is more than `PATIENCE`.

    Numba holds its lock while it compiles, so events come from one thread at a time, nested where one function needs
    another.
    """

    def __init__(self) -> None:
        self._open: list[float] = []
        self._seconds = 0.0
        self._told = False

    def on_start(self, event: Any) -> None:
        """Begin to count, if no other compilation is open."""
        self._open.append(perf_counter())
        self._tell(self._seconds + self._open[-1] - self._open[0])

    def on_end(self, event: Any) -> None:
        """Count what the outermost compilation took."""
        taken = perf_counter() - self._open[0]
        self._open.pop()
        if not self._open:
            self._seconds += taken
        self._tell(self._seconds)

    def _tell(self, seconds: float) -> None:
        if seconds > PATIENCE and not self._told:
            self._told = True
            _logger.warning(TEXT)


@functools.cache
def watch_compilation() -> None:
    """Let this process say once when its kernels take long to compile."""
    event.register("numba:compile", CompileNote())
