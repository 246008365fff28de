"""Writing a file all or nothing."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Make `data` the content of the file `path`.

    It is written to a temporary file in the same directory, brought to the disk and renamed, so that whatever
    happens, `path` holds either what it held before or all of `data`; OSError where that cannot be done.
    """
    target = Path(path).resolve()  # a link stays a link
    refuse_devices(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


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
