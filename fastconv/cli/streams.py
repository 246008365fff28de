"""The standard streams, as they may be: closed, full, without a reader, or of an encoding that lacks a letter."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

CLOSED = "stdout: got a closed stream; allowed: an open one (> /dev/null drops the output)"


@contextmanager
def usable_streams() -> Iterator[set[str]]:
    """Make both streams such that printing works within the block; yield the names of those that were closed.

    What an encoding cannot show is written as an escape. A closed stream leads nowhere: otherwise the next file that is
    opened would take its place, and be written over by whatever prints. What cannot be brought out at the end is
    dropped: whoever printed has had the error, and the interpreter need not report it again.
    """
    _occupy_descriptors()
    closed = {name for name in ("stdout", "stderr") if getattr(sys, name) is None}
    for name in closed:
        setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (it stays open for as long as the process prints)
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream, stream.errors) for stream in streams]
    try:
        for stream in streams:
            stream.reconfigure(errors="backslashreplace")
        yield closed
    finally:
        for stream, errors in before:
            if _flushes(stream):
                stream.reconfigure(errors=errors)
            else:
                _lead_nowhere(stream)


def say_on_stderr(text: str) -> None:
    """Print `text` in one line on stderr, if anybody is there to read it."""
    with suppress(OSError):
        print(" ".join(text.split()), file=sys.stderr, flush=True)


def stdout_works() -> bool:
    """Return whether what was printed could be brought out."""
    return _flushes(sys.stdout)


def _flushes(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _lead_nowhere(stream: io.TextIOWrapper) -> None:
    with suppress(OSError):
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
