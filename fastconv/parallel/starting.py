"""What a launcher tells its processes, before any of them has loaded MPI."""

from __future__ import annotations

import os

_LOCAL_RANKS = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")  # Open MPI's, MPICH's, srun's
_STARTERS = ("OMPI_COMM_WORLD", "PMI")  # each gives its processes ..._SIZE and ..._RANK


def started_together() -> int:
    """Return how many processes an MPI launcher says that it started, 1 if there was none."""
    return max(int(os.environ.get(f"{name}_SIZE", "1")) for name in _STARTERS)


def is_first() -> bool:
    """Tell whether this process is the first of them, or the only one."""
    return all(os.environ.get(f"{name}_RANK", "0") == "0" for name in _STARTERS)


def speaks_for_host() -> bool:
    """Tell whether this process is the first of those on its host: what all have to say it says for them."""
    said = next((os.environ[name] for name in _LOCAL_RANKS if name in os.environ), None)
    return is_first() if said is None else said == "0"
