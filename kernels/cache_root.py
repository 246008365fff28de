"""Where compiled kernels are kept on disk: one folder for those of the CPU, the GPU and the emulator.

And whether the sources that they are kept for are files.

Imports neither Numba nor CuPy, so that each of them can be kept without the other.
"""

import os
from pathlib import Path


class CacheWarning(UserWarning):
    """Compiled kernels cannot be kept on disk; each process compiles them again."""


def archive_of(folder: Path) -> Path | None:
    """Return the archive that a folder of modules is in, such as the zip file of a job that is sent out, or None."""
    return next((path for path in folder.parents if path.is_file()), None)


def cache_root() -> Path:
    """Return FASTCONV_CACHE_DIR, else ``$XDG_CACHE_HOME/fastconv``, else ``~/.cache/fastconv``; it need not exist.

    Raises
    ------
    RuntimeError
        None of them is known: this user has no home.
    """
    base = os.environ.get("FASTCONV_CACHE_DIR")
    if base:
        return Path(os.path.expanduser(base))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv"
