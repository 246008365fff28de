"""Compiled kernels on disk.

Numba's own cache goes stale when a helper in another file changes, makes the import fail where nothing can be written,
mixes up entries that two processes write at once, and does not recover from a damaged file (numba issues 1833, 5566,
4807). Here every compiled kernel is one file, named by function and signature, in a directory named by a hash of all
kernel sources, the versions of Numba and LLVM, and the CPU; it is written beside its place and renamed; a file that
cannot be read is compiled anew.

Compiled code is trusted code: the directory must belong to the user and be closed to others.
"""

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
from llvmlite import binding as llvm
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult

from fastconv.kernels.cache_root import CacheWarning, cache_root


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    config = (numba.config.CPU_NAME, numba.config.CPU_FEATURES, numba.config.BOUNDSCHECK, numba.config.OPT)
    for part in (numba.__version__, llvmlite.__version__, platform.python_version(), llvm.get_host_cpu_name(), config):
        digest.update(repr(part).encode())
    digest.update(llvm.get_host_cpu_features().flatten().encode())
    return digest.hexdigest()[:20]


# Taken now, while the sources are as they are being imported: a file may be edited before its kernels are first
# compiled.
SOURCES_HASH = _hash_sources()
"""Hash of everything that decides what a kernel compiles to."""


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
    warnings.warn(
        f"compiled kernels are not kept on disk ({error});"
        " set FASTCONV_CACHE_DIR to a directory that you alone can write",
        CacheWarning,
        stacklevel=2,
    )


class KernelCache(_Cache):
    """The cache of one kernel, in the form that Numba's dispatcher calls."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._enabled = True

    @property
    def cache_path(self) -> str:
        """Directory of the files."""
        return str(cache_directory())

    def enable(self) -> None:
        """Read and write files from now on."""
        self._enabled = True

    def disable(self) -> None:
        """Neither read nor write files from now on."""
        self._enabled = False

    def flush(self) -> None:
        """Delete the files of this kernel."""
        directory = cache_directory()
        for path in directory.glob(f"{self._name}-*") if directory else ():
            path.unlink(missing_ok=True)

    def _path(self, sig) -> Path | None:
        directory = cache_directory() if self._enabled else None
        digest = hashlib.sha256(repr(sig).encode()).hexdigest()[:16]
        return directory / f"{self._name}-{digest}.kernel" if directory else None

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
            path.unlink(missing_ok=True)
            return None

    def save_overload(self, sig, data) -> None:
        """Keep the compiled kernel `data`."""
        path = self._path(sig)
        if path is None:
            return
        payload = pickle.dumps(data._reduce(), protocol=4)
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
            os.replace(file.name, path)
        except OSError as error:
            self._enabled = False
            _warn(error)


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("fastconv's CPU kernels need a POSIX system")
