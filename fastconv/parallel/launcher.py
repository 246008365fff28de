"""The mpiexec that starts ranks: which one it is, and how it is told to start them on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fastconv.errors import ArgumentError, BackendUnavailableError, DependencyError

_FAMILIES = {"MPICH": r"HYDRA|MPICH|Intel\(R\) MPI", "Open MPI": r"Open ?MPI|OpenRTE|PRTE|prterun"}
# Cores are shared out before (`threads_of`), so Open MPI is not to count slots, and not to bind ranks of several
# threads to one core each.
_OPTIONS = {"Open MPI": ("--oversubscribe", "--bind-to", "none")}
_INSTALL = "pip install 'fastconv[mpi-local]', which brings both, or 'fastconv[mpi]' beside an MPI of the site"


@dataclass(frozen=True)
class Launcher:
    """An mpiexec.

    Attributes
    ----------
    path : str
    family : str
        "MPICH", "Open MPI", or "" for another one.
    """

    path: str
    family: str

    def command(self, num_processes: int, words: Sequence[str]) -> list[str]:
        """Return the command that starts so many processes of `words`."""
        return [self.path, *_OPTIONS.get(self.family, ()), "-n", str(num_processes), *words]


def find_launcher(path: str | None = None) -> Launcher:
    """Return the mpiexec of this environment, else that of the PATH; or the one at `path`.

    Raises
    ------
    DependencyError
        mpi4py is not installed.
    ArgumentError
        There is nothing at `path` that can be executed.
    BackendUnavailableError
        There is no mpiexec, or it belongs to another MPI than the library that mpi4py loads.
    """
    if find_spec("mpi4py") is None:
        raise DependencyError(f"launch: got no mpi4py; allowed: {_INSTALL}")
    found = _named(path) if path is not None else _usual()
    family = _family(_said(found, "--version"))
    library = _said(sys.executable, "-m", "mpi4py", "--mpi-lib-version")
    if family and _family(library) not in ("", family):
        raise BackendUnavailableError(
            f"launch: got two MPIs, {found!r} of {family} and the library {library.splitlines()[0].strip()!r} that"
            " mpi4py loads; allowed: --mpiexec PATH with that of the library, or one MPI only"
        )
    return Launcher(found, family)


def _named(path: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise ArgumentError(f"mpiexec: got {path!r}, which cannot be executed; allowed: the path of an mpiexec")
    return found


def _usual() -> str:
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if found is None:
        raise BackendUnavailableError(f"launch: got no mpiexec, beside Python or on the PATH; allowed: {_INSTALL}")
    return found


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - no shell
    return done.stdout + done.stderr


def _family(text: str) -> str:
    return next((name for name, pattern in _FAMILIES.items() if re.search(pattern, text)), "")
