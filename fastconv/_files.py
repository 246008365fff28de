"""Paths that a user names, and writing a file all or nothing, with an error that says what could not be written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fastconv.errors import ArgumentError, OutputError


@contextlib.contextmanager
def writing(name: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError within this into one that says what could not be written, by the name of the argument."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{name}: got {os.fspath(path)!r}, which could not be written ({reason(error)}); allowed: a place with"
            " room that may be written (what was there is as it was)"
        ) from error


def path_of(value: str | os.PathLike[str], name: str) -> Path:
    """Return a path; ArgumentError where it is none, as "", which would be the present directory.

    A number is none: to `open` it would be a file descriptor of this process.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or not _has_a_name(text):
        raise ArgumentError(f"{name}: got {value!r}; allowed: a path")
    return Path(text)


def _has_a_name(text: str) -> bool:
    """Tell whether the system can have a file of this name: a zero byte ends it, and half a surrogate has no bytes."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def home_path_of(value: str | os.PathLike[str], name: str) -> Path:
    """Return what `path_of` does, with the folder of a user for ``~``; the name of nobody stays as it is."""
    return Path(os.path.expanduser(path_of(value, name)))


def followed(path: Path) -> Path:
    """Return where a path leads, through all links; OSError where they go round in a circle.

    `Path.resolve` raises a RuntimeError for such links in some versions of Python, and takes them in others.
    """
    real = os.path.realpath(path)
    if os.path.islink(real):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return Path(real)


def reason(error: OSError) -> str:
    """Return what the system said, also where an OutputError tells of it by another name."""
    if isinstance(error, OutputError) and isinstance(error.__cause__, OSError):
        return reason(error.__cause__)
    return error.strerror or str(error)


def write_atomically(path: str | os.PathLike[str], data: bytes, name: str = "path") -> None:
    """Make `data` the content of the file `path`.

    It is written to a temporary file in the same directory, brought to the disk and renamed, so that whatever
    happens, `path` holds either what it held before or all of `data`; OutputError where that cannot be done, which
    calls it `name`.
    """
    target = home_path_of(path, name)
    with writing(name, path):
        _write(followed(target), data)  # a link stays a link


def _write(target: Path, data: bytes) -> None:
    refuse_devices(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            keep_mode(file, target)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def keep_mode(file: BinaryIO, target: Path) -> None:
    """Let those read and write a file who may do so with the one whose place it will take, if there is one."""
    with contextlib.suppress(OSError):  # there is none, or the file system knows of no such things
        os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))


def refuse_devices(target: Path) -> None:
    """Refuse what is there and no file, such as /dev/null or a pipe: a new file with its name would take its place."""
    if target.exists() and not target.is_file() and not target.is_dir():
        raise OSError(errno.EEXIST, "a device or a pipe, which a file would take the place of", str(target))


def _sync_directory(directory: Path) -> None:
    """Bring the new name to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parsed_json(text: str) -> Any:
    """Return what JSON holds; ValueError if it is none, or nested past what Python reads."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_table(text: str) -> dict[str, Any] | None:
    """Return the table that JSON holds, or None where it holds something else or is none."""
    try:
        found = parsed_json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
