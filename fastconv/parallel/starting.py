"""What a launcher tells its processes, before any of them has loaded MPI."""

from __future__ import annotations

import os

_STARTERS = ("OMPI_COMM_WORLD", "PMI")  # each gives its processes ..._SIZE and ..._RANK


def started_together() -> int:
    """Return how many processes an MPI launcher says that it started, 1 if there was none."""
    return max(int(os.environ.get(f"{name}_SIZE", "1")) for name in _STARTERS)


def is_first() -> bool:
    """Tell whether this process is the first of them, or the only one."""
    return all(os.environ.get(f"{name}_RANK", "0") == "0" for name in _STARTERS)
