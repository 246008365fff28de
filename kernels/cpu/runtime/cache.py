"""Compiled kernels on disk.

Numba's own cache goes stale when a helper in another file changes, makes the import fail where nothing can be written,
mixes up entries that two processes write at once, and does not recover from a damaged file (numba issues 1833, 5566,
4807). Here every compiled kernel is one file, named by function and signature, in a directory named by a hash of all
kernel sources, the versions of Numba and LLVM, and the CPU; it is written beside its place and renamed; a file that
cannot be read is compiled anew.

Only what this package declares is kept. The hash says nothing of code elsewhere: a kernel of a user's, edited, or one
made by a factory here from a function of the user's, would run what it was before. Such kernels are compiled once in
each process.

Compiled code is trusted code: the directory must belong to the user and be closed to others.
"""

import contextlib
import errno
import functools
import hashlib
import itertools
import os
import pickle
import platform
import sys
import tempfile
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import binding as llvm
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult

from fastconv.kernels.cache_root import CacheWarning, archive_of, cache_root

from .cpu_caches import CACHES
from .settings import bounds_checked, check_numba

check_numba(numba.config)


_PACKAGE = __name__.removesuffix("runtime.cache")
_FOLDER = Path(__file__).parents[2]  # with what the kernels of the CPU and of CUDA share
_NUMBA_SETTINGS = (
    *("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "DISABLE_INTEL_SVML", "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE"),
    *("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DEBUG_NRT", "NRT_STATS", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS"),
)


def _settings() -> str:
    """What decides of the compiled code besides sources and versions; Numba reads its own variables again and again."""
    return repr([getattr(numba.config, name, None) for name in _NUMBA_SETTINGS] + [bounds_checked()])


def _sources(folder: Path) -> list[Path]:
    """Return all that the kernels of the CPU are made of; `folder` is that of both kinds, or lies in an archive."""
    archive = archive_of(folder)
    if archive is not None:
        return [archive]
    return sorted([*folder.glob("*.py"), *(folder / "cpu").rglob("*.py")])


def _state_of_sources() -> list[tuple[Path, int, int]]:
    """Path, size and time of change of each source."""
    found = ((path, path.stat()) for path in _sources(_FOLDER))
    return [(path, status.st_size, status.st_mtime_ns) for path, status in found]


def _hash_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _sources(folder):
        digest.update(os.path.relpath(path, folder).encode() + b"\0" + path.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, llvm.llvm_version_info, np.__version__)
    python = (platform.python_version(), sys.abiflags)
    for part in (versions, python, llvm.get_host_cpu_name(), CACHES, _settings()):
        digest.update(repr(part).encode())
    digest.update(llvm.get_host_cpu_features().flatten().encode())
    return digest.hexdigest()[:20]


# Taken now, while the sources are as they are being imported: a file may be edited before its kernels are first
# compiled.
_SOURCES = _state_of_sources()
SOURCES_HASH = _hash_sources(_FOLDER)
"""Hash of everything that decides what a kernel compiles to."""


def _is_being_imported() -> bool:
    """Tell whether a module of this package is: what is declared now is in its sources, and all that it is made of."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and Path(frame.f_code.co_filename).is_relative_to(_FOLDER / "cpu")


def _number_functions() -> None:
    """Let Numba number the functions that this process compiles from a place that no other process uses.

    The number is in the name of a function's symbol, and counts from 1 in every process. Two kernels made by one
    factory, with equal argument types, compiled by two processes, could so have one symbol; a third process that loads
    both then runs the first one for the second.
    """
    FunctionIdentity._unique_ids = itertools.count(int.from_bytes(os.urandom(7), "big"))


_number_functions()
os.register_at_fork(after_in_child=_number_functions)


@functools.cache
def cache_directory() -> Path | None:
    """Return the directory of this version's kernels, made if need be, or None with one warning if there cannot be one.

    It lies in `cache_root`.
    """
    try:
        directory = cache_root() / "kernels" / SOURCES_HASH
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{directory} belongs to, or can be written by, somebody else")
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except (OSError, RuntimeError) as error:
        _warn(error)
        return None


def _warn(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        advice = "free some space, or set FASTCONV_CACHE_DIR to a directory on another disk"
    else:
        advice = "set FASTCONV_CACHE_DIR to a directory that you alone can write"
    warnings.warn(f"compiled kernels are not kept on disk ({error}); {advice}", CacheWarning, stacklevel=2)


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file all at once: who reads it meanwhile finds the one before, and so it stays if that fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):  # the file that it is about, not the passing one
            raise OSError(error.errno, error.strerror, str(path.parent)) from error
        raise


class KernelCache(_Cache):
    """The cache of one kernel, in the form that Numba's dispatcher calls.

    It keeps what a module of this package declares. For other functions it is empty.
    """

    _can_save = True  # of the process: what one kernel could not write, the others could not either

    def __init__(self, function) -> None:
        self._name = f"{str(function.__module__).removeprefix(_PACKAGE)}.{function.__name__}"
        self.is_declared_here = _is_being_imported()
        self._enabled = True

    @property
    def cache_path(self) -> str:
        """Directory of the files."""
        return str(cache_directory())

    def enable(self) -> None:
        """Read and write files from now on, if the kernel is declared here."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write files from now on."""
        self._enabled = False

    def flush(self) -> None:
        """Delete the files of this kernel."""
        directory = cache_directory() if self.is_declared_here else None
        for path in directory.glob(f"{self._name}-*") if directory else ():
            path.unlink(missing_ok=True)

    def _path(self, sig) -> Path | None:
        if not (self._enabled and self.is_declared_here):
            return None
        directory = cache_directory()
        # Sources that changed since they were hashed may have been imported again: whose code this is nobody knows.
        if directory is None or _state_of_sources() != _SOURCES:
            return None
        digest = hashlib.sha256(f"{sig!r} {_settings()}".encode()).hexdigest()[:16]
        return directory / f"{self._name}-{digest}.kernel"

    def load_overload(self, sig, target_context):
        """Return the compiled kernel for the argument types `sig`, or None."""
        path = self._path(sig)
        if path is None:
            return None
        try:
            digest, payload = path.read_bytes().split(b"\n", 1)
            if digest != hashlib.sha256(payload).hexdigest().encode():
                raise ValueError("checksum")
            target_context.refresh()
            return CompileResult._rebuild(target_context, *pickle.loads(payload))  # noqa: S301 (a private directory)
        except FileNotFoundError:
            return None
        except Exception:  # damaged, or from an incompatible build: as good as absent
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def save_overload(self, sig, data) -> None:
        """Keep the compiled kernel `data`."""
        path = self._path(sig) if KernelCache._can_save else None
        if path is None:
            return
        payload = pickle.dumps(data._reduce(), protocol=4)
        try:
            replace_file(path, hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
        except OSError as error:
            KernelCache._can_save = False
            _warn(error)


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("fastconv's CPU kernels need a POSIX system")
