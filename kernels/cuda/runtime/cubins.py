"""Compiled kernels on disk: made once, found again by what they were made from, and carried to other machines.

One folder a target, ``cubins/sm_90`` in `cache_root`, has for each variant ``<kernel>-<hash>.cubin``, which the driver
loads, and beside it a ``.json`` that says what it is, with a checksum. The hash is of source, macros, flags and target.
The compiler's release stands in the ``.json`` only: a folder made by one NVRTC serves a machine that has another one,
or none. It may be read-only. Machine code of another target is never looked at, as both folder and hash differ.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from ...cache_root import CacheWarning, cache_root
from . import build, nvrtc
from .device import Kernel


def directory(target: str) -> Path:
    """Return the folder of a target's machine code; it need not exist."""
    try:
        return cache_root() / "cubins" / target
    except RuntimeError as error:
        return _own_folder(error)


def cubin_path(kernel: Kernel, target: str) -> Path:
    """Return where the machine code of a variant is kept, whether it is there or not."""
    return directory(target) / f"{kernel.name}-{build.source_hash(kernel, target)[:20]}.cubin"


def find(kernel: Kernel, target: str) -> Path | None:
    """Return the file of a variant, or None where there is none or it is damaged."""
    path = cubin_path(kernel, target)
    candidates = [path, *(folder / path.name for folder in _FOLDERS)]
    return next(filter(_is_whole, candidates), None)


def _is_whole(path: Path) -> bool:
    try:
        record = json.loads(path.with_suffix(".json").read_bytes())
        return bool(hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def ensure(kernel: Kernel, target: str) -> Path:
    """Return the file of a variant, compiled if it is not there yet or is damaged.

    Raises
    ------
    nvrtc.CompilerUnavailableError
        It is not there, and nothing here can compile it; the message says where it was looked for.
    nvrtc.CompileError
        NVRTC refused it.
    """
    found = find(kernel, target)
    if found is not None:
        return found
    try:
        cubin, _ = nvrtc.compile_text(build.source_text(kernel), kernel.source, target, build.flags(kernel))
    except nvrtc.CompilerUnavailableError as error:
        path = cubin_path(kernel, target)
        state = "is damaged" if path.exists() else "is not there"
        raise nvrtc.CompilerUnavailableError(f"{error}, and {path} {state}") from error
    return _keep(kernel, target, cubin)


def compile_all(kernels: Iterable[Kernel], target: str, *, jobs: int | None = None) -> dict[Kernel, Path]:
    """Compile the variants that are not there yet, side by side, and return the file of each.

    In processes of their own: NVRTC compiles one program at a time in a process (12.9: twelve convolutions 21 s one
    after another, 17 on two threads). They import the main module of this one, which must be a file that does its work
    only under ``if __name__ == "__main__"``.

    Parameters
    ----------
    kernels : iterable of Kernel
        Variants; the same one may come again.
    target : str
        ``"sm_90"``.
    jobs : int, optional
        Processes; by default one for each CPU that this one may use.

    Raises
    ------
    nvrtc.CompilerUnavailableError
        One is missing, and nothing here can compile it.
    nvrtc.CompileError
        NVRTC refused some; all others are compiled and kept.
    OSError
        The folder cannot be written.
    """
    files = {kernel: find(kernel, target) for kernel in kernels}
    missing = [kernel for kernel, path in files.items() if path is None]
    if not missing:
        return files
    nvrtc.version()  # no compiler is one error, not one a process
    directory(target).mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory(target)):
        pass
    workers = min(jobs or len(os.sched_getaffinity(0)), len(missing))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn) if workers > 1 else ThreadPoolExecutor(1) as pool:
        made = [pool.submit(ensure, kernel, target) for kernel in missing]
    refused = [error for future in made if (error := future.exception()) is not None]
    for error in refused:
        if not isinstance(error, nvrtc.CompileError):
            raise error
    if refused:
        raise nvrtc.CompileError(f"{len(refused)} of {len(files)} kernels do not compile; the first: {refused[0]}")
    return files | {kernel: future.result() for kernel, future in zip(missing, made, strict=True)}


def describe(path: Path) -> dict[str, object]:
    """Return what stands beside the machine code: kernel, source, macros, target, flags, NVRTC's release."""
    record: dict[str, object] = json.loads(path.with_suffix(".json").read_bytes())
    return record


def _keep(kernel: Kernel, target: str, cubin: bytes) -> Path:
    record = {
        "kernel": kernel.name,
        "source": kernel.source,
        "defines": dict(kernel.defines),
        "target": target,
        "flags": build.flags(kernel),
        "nvrtc": nvrtc.version(),
        "sha256": hashlib.sha256(cubin).hexdigest(),
    }
    path = cubin_path(kernel, target)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return _write(path, cubin, record)
    except OSError as error:
        return _write(_own_folder(error) / path.name, cubin, record)


def _write(path: Path, cubin: bytes, record: dict[str, object]) -> Path:
    for target, data in ((path, cubin), (path.with_suffix(".json"), json.dumps(record).encode())):
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.chmod(file.name, 0o644)  # others may read it, where the folder is carried to
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
    return path


_FOLDERS: list[Path] = []  # at most one, where nothing can be kept


def _own_folder(error: Exception) -> Path:
    """Return a folder that ends with this process, for want of one that stays; the first time it warns."""
    if not _FOLDERS:
        _FOLDERS.append(Path(tempfile.mkdtemp(prefix="fastconv-cubins-")))
        atexit.register(shutil.rmtree, _FOLDERS[0], ignore_errors=True)
        warnings.warn(
            f"compiled CUDA kernels are not kept on disk ({error}); let FASTCONV_CACHE_DIR name a folder of yours",
            CacheWarning,
            stacklevel=2,
        )
    return _FOLDERS[0]
