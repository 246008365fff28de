"""One training at a time owns a folder."""

from __future__ import annotations

import fcntl
import os
import warnings
from pathlib import Path
from time import sleep

from fastconv.errors import ArgumentError

_LOOK = 0.05  # seconds: `is_locked` holds a folder for a moment


class OwnedError(ArgumentError):
    """Another training owns the folder."""


def lock_folder(directory: Path, name: str) -> int:
    """Own a folder that exists; return the descriptor that does, to be closed at the end.

    The system gives the folder back when the process ends, however it ends. Where folders cannot be locked, a warning
    says so.

    Parameters
    ----------
    name : str
        What the folder is called in messages.

    Raises
    ------
    OwnedError
        Another training owns it.
    OSError
        It cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep(_LOOK)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OwnedError(
            f"{name}: got {directory}, where another training is running; allowed: a folder for each"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{directory} cannot be locked ({error.strerror}), so nothing keeps a second training out of it",
            stacklevel=2,
        )
    return descriptor


def is_locked(directory: Path) -> bool:
    """Return whether a training owns a folder now; False where the system cannot tell."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)  # gives it back at once
    return False
