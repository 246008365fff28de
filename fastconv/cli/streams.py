"""The standard streams, as they may be: closed, full, without a reader, or of an encoding that lacks a letter."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, TextIO, TypeVar, cast

from fastconv._console import one_line
from fastconv.errors import FastconvError
from fastconv.parallel.starting import is_first

_MOMENT = 1.5  # seconds
_Result = TypeVar("_Result")


class StdoutError(FastconvError):
    """What was printed on stdout could not be brought out."""


@contextmanager
def usable_streams() -> Iterator[None]:
    """Make both streams such that printing works within the block, or is a StdoutError.

    What an encoding cannot show is written as an escape. A closed stream leads nowhere: otherwise the next file that is
    opened would take its place, and be written over by whatever prints.
    """
    _occupy_descriptors()
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stack.callback(setattr, sys, name, getattr(sys, name))
        if sys.stderr is None:
            sys.stderr = stack.enter_context(open(os.devnull, "w"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stack.enter_context(_forgiving(stream))
        sys.stdout = cast(TextIO, _Stdout(sys.stdout))
        yield


@contextmanager
def one_rank_shows() -> Iterator[None]:
    """Drop what is printed on stdout within the block, but by the first of several ranks."""
    if is_first():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


class _Stdout:
    """The stream behind, with an error that tells who failed; argparse would also drop an OSError."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        shown = "\n".join(map(one_line, text.split("\n")))  # of data, such as names of files
        return self._do(lambda stream: stream.write(shown))

    def flush(self) -> None:
        self._do(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _do(self, action: Callable[[TextIO], _Result]) -> _Result:
        if self._stream is None:
            raise StdoutError("stdout: got a closed stream; allowed: an open one (> /dev/null drops the output)")
        try:
            return action(self._stream)
        except OSError as error:
            raise StdoutError(
                f"stdout: got {error.strerror or error}; allowed: a place that takes the output"
            ) from error


@contextmanager
def _forgiving(stream: io.TextIOWrapper) -> Iterator[None]:
    """Write escapes for what the encoding lacks; at the end drop what cannot be brought out.

    Whoever printed it has had the error, and the interpreter need not report it again.
    """
    errors = stream.errors
    with suppress(OSError):  # what cannot be flushed now is told of by who prints
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        try:
            stream.reconfigure(errors=errors)  # flushes
        except OSError:
            _lead_nowhere(stream)


def say_on_stderr(text: str) -> None:
    """Print `text` in one line on stderr, if anybody is there to read it.

    Of several ranks the first speaks first: what all have to say is then said once, as the job ends with it.
    """
    if not is_first():
        time.sleep(_MOMENT)
    with suppress(OSError):
        print(one_line(" ".join(text.split())), file=sys.stderr, flush=True)


def _lead_nowhere(stream: io.TextIOWrapper) -> None:
    with suppress(OSError):  # then it stays closed
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _occupy_descriptors() -> None:
    """Let the descriptors 0 to 2 that are closed lead nowhere."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest one that is free, which is this one
