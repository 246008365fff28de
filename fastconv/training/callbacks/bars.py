"""A moving bar: in a terminal one of rich, in a notebook a line that is written anew."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Protocol, TextIO

from fastconv._console import make_console

REFRESH = 0.25  # seconds
_CELLS = 24


class Bar(Protocol):
    """What is shown of an epoch while it runs."""

    def begin(self, name: str) -> None:
        """Start at nothing."""

    def move(self, done: int, text: str) -> None:
        """Show how many steps are done."""

    def print(self, line: str) -> None:
        """Print a line, where the bar is not in its way."""

    def close(self) -> None:
        """Take the bar away."""


class TerminalBar:
    """At the bottom of a terminal, as wide as that; lines go above it."""

    def __init__(self, stream: TextIO, total: int) -> None:
        from rich import progress

        def text(form: str) -> Any:
            return progress.TextColumn(form, markup=False)

        self._progress = progress.Progress(
            text("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            text("{task.fields[text]}"),
            progress.TimeElapsedColumn(),
            console=make_console(stream),
            refresh_per_second=1 / REFRESH,
            transient=True,
        )
        self._task = self._progress.add_task("", total=total, text="")
        self._progress.start()

    def begin(self, name: str) -> None:
        """Start at nothing."""
        self._progress.reset(self._task, description=name, text="")

    def move(self, done: int, text: str) -> None:
        """Show how many steps are done."""
        self._progress.update(self._task, completed=done, text=text)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


class NotebookBar:
    """An output of plain text below a cell, which is replaced; what is printed follows it."""

    def __init__(self, total: int) -> None:
        display: Any = importlib.import_module("IPython.display").display
        self._total, self._name, self._since = total, "", 0.0
        self._handle = display(_plain(""), raw=True, display_id=True)

    def begin(self, name: str) -> None:
        """Start at nothing."""
        self._name, self._since = name, time.perf_counter()
        self.move(0, "")

    def move(self, done: int, text: str) -> None:
        """Show how many steps are done."""
        full = _CELLS * done // self._total
        seconds = int(time.perf_counter() - self._since)
        line = f"{self._name}  [{'#' * full:.<{_CELLS}}]  {done}/{self._total}  {text}  {seconds} s"
        self._handle.update(_plain(line), raw=True)

    def print(self, line: str) -> None:
        """Print a line below."""
        print(line, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self._handle.update(_plain(""), raw=True)


def _plain(text: str) -> dict[str, str]:
    return {"text/plain": text}


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def open_bar(stream: TextIO, total: int) -> Bar | None:
    """Return a bar for what is written to `stream`; None where nothing can move, as in a file or a dumb terminal."""
    if in_notebook() and stream in (sys.stdout, sys.stderr):
        return NotebookBar(total)
    if stream.isatty() and not make_console(stream).is_dumb_terminal:
        return TerminalBar(stream, total)
    return None
