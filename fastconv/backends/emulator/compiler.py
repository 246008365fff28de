"""Builds kernels for the CPU: one shared library for the runtime, one for each variant of a kernel, kept on disk."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from fastconv.errors import BackendUnavailableError
from fastconv.kernels.cache_root import cache_root
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel

_RUNTIME = Path(__file__).parent / "runtime"
_COMMON = ("-std=c++20", "-fPIC", "-fvisibility=hidden")
# -ffp-contract=off: the only fused multiply-adds are those that a kernel asks for. Casts between Pack and its elements
# break the aliasing rules of C++, which CUDA compilers do not use either.
_KERNEL = (
    *_COMMON,
    *("-x", "c++", "-g1", "-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv", "-fno-exceptions"),
    *("-fstack-clash-protection", "-w"),
)
# Vector loads that are not aligned, and indices outside local arrays, stop the kernel even without checks.
_TRAPS = ("-fsanitize=alignment,bounds,shift-exponent", "-fsanitize-undefined-trap-on-error")
# Instrumented for ThreadSanitizer but linked without it: the runtime has the functions that the compiler calls. Without
# scalar replacement a float4 stays one access.
_CHECKS = ("-fsanitize=thread", "-fno-tree-sra", "-fno-ipa-sra")

_DYNAMIC = re.compile(r"\bextern __shared__ (?:__align__\(\d+\) )?([\w:]+(?: [\w:]+)*) (\w+)\[\];")
_STATIC = re.compile(r"(?<!extern )\b__shared__ (?:__align__\(\d+\) )?([^;=()]+?) (\w+)((?:\[[^\]]+\])*);")


def rewritten(text: str) -> str:
    """Return a kernel's source with its shared memory taken from the emulator: an exact array for each declaration."""
    text = _DYNAMIC.sub(r"\1* const \2 = (\1*)emulator::dynamic_shared();", text)
    text = _STATIC.sub(r"auto& \2 = emulator::shared<emulator_array_\2>([] {});", _with_array_types(text))
    if "__shared__" in text:
        line = next(line for line in text.splitlines() if "__shared__" in line)
        raise AssertionError(f"a shared declaration that the emulator cannot read: {line.strip()}")
    return text


def _with_array_types(text: str) -> str:
    return _STATIC.sub(lambda m: f"using emulator_array_{m[2]} = {m[1]}{m[3]}; {m[0]}", text)


@functools.cache
def compiler() -> str:
    """Return the path of g++; BackendUnavailableError if there is none."""
    name = os.environ.get("CXX") or "g++"
    path = shutil.which(name)
    if path is None:
        raise BackendUnavailableError(
            f"backend 'cuda-emulator': no C++ compiler ({name} not found); install g++ 12 or newer, or set CXX"
        )
    return path


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - of names found on PATH


@functools.cache
def _version() -> str:
    return _run(compiler(), "--version").stdout


@functools.cache
def directory() -> Path:
    """Return where libraries are kept: beside the kernels of the CPU, else for this process only."""
    try:
        path: Path = cache_root() / "emulator"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="fastconv-emulator-"))


def _compile(name: str, sources: tuple[str, ...], flags: tuple[str, ...], text: str = "", link: bool = True) -> Path:
    """Compile to a library, or take it from disk; `text` is what the name on disk depends on besides the flags."""
    digest = hashlib.sha256("\0".join([_version(), *flags, text]).encode()).hexdigest()[:20]
    library = directory() / f"{name}-{digest}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(dir=directory()) as scratch:
        made = Path(scratch) / "library.so"
        steps = [(*flags, *sources, "-shared", "-o", str(made))]
        if not link:
            (Path(scratch) / "kernel.cu").write_text(text)
            compiled = str(Path(scratch) / "kernel.o")
            steps = [
                (*flags, "-c", str(Path(scratch) / "kernel.cu"), "-o", compiled),
                ("-shared", compiled, "-o", str(made)),
            ]
        for step in steps:
            run = _run(compiler(), *step)
            if run.returncode:
                raise RuntimeError(f"{name} does not compile for the emulator:\n{run.stderr[-4000:]}")
        made.replace(library)
    return library


@functools.cache
def runtime() -> ctypes.CDLL:
    """Return the library that runs fibres; kernels find its functions through it."""
    sources = sorted(_RUNTIME.glob("*.cpp"))
    text = "".join(path.read_text() for path in sorted(_RUNTIME.iterdir()) if path.suffix in {".cpp", ".h"})
    flags = ("-std=c++20", "-fPIC", "-O2", "-fno-strict-aliasing", "-w")
    path = _compile("runtime", tuple(map(str, sources)), flags, text)
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def kernel_library(kernel: Kernel, *, checks: bool) -> Path:
    """Return the library of one variant of a kernel."""
    body = rewritten(build.source_text(kernel))
    text = f'{_headers()}\n{body}\n#line 1 "emulated"\nEMULATED_KERNEL({kernel.name})\n'
    flags = (*_KERNEL, *(_CHECKS if checks else _TRAPS))
    return _compile(f"{kernel.name}-checks" if checks else kernel.name, (), flags, text, link=False)


@functools.cache
def _headers() -> str:
    emulator, cuda = ((_RUNTIME / name).read_text() for name in ("emulator.h", "cuda.h"))
    return emulator + cuda.replace('#include "emulator.h"\n', "")


def source_line(library: Path, offset: str) -> str:
    """Return ``file:line`` of a place in a library's code, callers of inlined functions after ``<``."""
    tool = shutil.which("addr2line")
    if tool is None:
        return f"+0x{offset}"
    shown = _run(tool, "-i", "-e", str(library), offset).stdout
    lines = [re.sub(r" \(discriminator \d+\)", "", line).rsplit("/", 1)[-1] for line in shown.splitlines()]
    known = [line for line in lines if ".cu" in line and not line.startswith("kernel.cu")]
    return " < ".join(known) or f"+0x{offset}"
