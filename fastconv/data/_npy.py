"""Files in NumPy's format, and rows that come one by one, collected in memory or in such a file."""

from __future__ import annotations

import os
import secrets
import threading
import tokenize
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import numpy as np

from fastconv._files import followed, home_path_of, keep_mode, refuse_devices
from fastconv.data._directory import PathLike
from fastconv.errors import DataError

HEADERS = threading.Lock()
"""Held while NumPy reads a header, which it parses as Python: CPython 3.11 counts its depth for all threads as one.

Where the garbage collector lets another thread parse in the midst of it, it ends in a SystemError
(https://github.com/python/cpython/issues/106905).
"""
# A process that is forked meanwhile would find it held for ever: forking waits.
os.register_at_fork(before=HEADERS.acquire, after_in_parent=HEADERS.release, after_in_child=HEADERS.release)


@contextmanager
def reading_header() -> Iterator[None]:
    """Within it a header that is no Python is a ValueError, whatever Python calls it.

    It stands beside HEADERS, which a generator might hold for as long as somebody looks at the interrupt that ended it.
    """
    try:
        yield
    except (tokenize.TokenError, RecursionError) as error:  # of looking for numbers of Python 2, and of nesting
        raise ValueError("a header that cannot be read") from error


def mapped(path: PathLike) -> np.ndarray:
    """Return the array of a .npy file, mapped into memory for reading."""
    with HEADERS, reading_header():
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    return array


class Rows:
    """Collects uint8 arrays of one shape as the rows of an array."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._rows: list[np.ndarray] = []

    def append(self, row: np.ndarray) -> None:
        """Take one row; the first one's shape is that of all."""
        self.shape = row.shape
        self._rows.append(row.copy())

    def finish(self) -> np.ndarray:
        """Return all rows."""
        return np.stack(self._rows)


class RowsAtMost(Rows):
    """Collects up to `most` of them in one array, without another copy at the end."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._count = most, 0

    def append(self, row: np.ndarray) -> None:
        """Take one row."""
        if not self._count:
            self.shape = row.shape
            self._array = np.empty((self._most, *row.shape), np.uint8)
        self._array[self._count] = row
        self._count += 1

    def finish(self) -> np.ndarray:
        """Return the rows that came."""
        return self._array[: self._count]


class RowsInFile(Rows):
    """Collects them in a temporary file beside `path`, which takes that name once it is whole."""

    def __init__(self, path: PathLike, stack: ExitStack) -> None:
        super().__init__()
        self._path = home_path_of(path, "file")
        self._count = 0
        try:
            self._path = followed(self._path)
            self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.tmp")
            refuse_devices(self._path)
            self._file: BinaryIO = stack.enter_context(self._temporary.open("xb"))
            keep_mode(self._file, self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        stack.callback(self._temporary.unlink, missing_ok=True)

    def append(self, row: np.ndarray) -> None:
        """Write one row."""
        try:
            if not self._count:
                self.shape = row.shape
                self._write_header()
            self._count += 1
            self._file.write(row.tobytes())
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(self) -> np.ndarray:
        """Return all rows, mapped into memory for reading."""
        try:
            self._file.seek(0)
            self._write_header()
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        return mapped(self._path)

    def _write_header(self) -> None:
        """Write a header for the rows so far; NumPy leaves room in it for any number of them."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"file: got {self._path} ({error.strerror}); allowed: a place with room for all images")
