"""Files that callbacks write: an error in one is clear, found early where it can be, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from fastconv._files import followed, refuse_devices, writing
from fastconv.errors import ArgumentError


def check_directory(name: str, directory: Path) -> None:
    """Make a directory, and write a file there and take it away, so that what is wrong is found now."""
    probe = directory / f".{secrets.token_hex(4)}.tmp"
    with writing(name, directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"fastconv")
        finally:
            probe.unlink(missing_ok=True)


def append_line(name: str, path: Path, line: str) -> None:
    """Append a line to a file, whole or not at all."""
    with writing(name, path), open(path, "ab") as file:
        size = file.tell()
        try:
            file.write(line.encode() + b"\n")
            file.flush()
        except OSError:
            with contextlib.suppress(OSError):  # closing tries to write what is left again
                file.close()
            os.truncate(path, size)
            raise


def check_file(name: str, path: Path) -> None:
    """Refuse a directory where a file is meant, and a place that cannot be written."""
    if os.path.isdir(path):  # of a name that is too long for the system `Path.is_dir` raises an OSError
        raise ArgumentError(f"{name}: got {str(path)!r}, a directory; allowed: a file")
    with writing(name, path):
        refuse_devices(followed(path))
    check_directory(name, path.parent)
