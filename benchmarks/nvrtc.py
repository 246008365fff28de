"""Compiling a CUDA kernel to machine code without a GPU: NVRTC from `nvidia-cuda-nvrtc-cu12`, called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from fastconv.kernels.cuda import build
from fastconv.kernels.cuda.device import Kernel

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)\w*'")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+)(?:\+\d+)? bytes smem")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Compiled:
    """What the compiler said of one kernel.

    Attributes
    ----------
    registers : of a thread
    static_shared, stack, spills : bytes; spills are stores and loads together
    cubin : the machine code
    """

    registers: int
    static_shared: int
    stack: int
    spills: int
    cubin: bytes


class CompileError(RuntimeError):
    """NVRTC refused a kernel, or its log does not name it."""


def library_path() -> Path | None:
    """Return where NVRTC lies, or None if the package is not installed."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    if spec is None or not spec.submodule_search_locations:
        return None
    found = sorted(Path(spec.submodule_search_locations[0]).glob("lib/libnvrtc.so.*"))
    return found[0] if found else None


@functools.cache
def _library() -> ctypes.CDLL:
    path = library_path()
    if path is None:
        raise CompileError("NVRTC is not installed: pip install -e '.[gate]'")
    return ctypes.CDLL(str(path))


def version() -> str:
    """Return NVRTC's version."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_kernel(kernel: Kernel, architecture: int) -> Compiled:
    """Compile one variant for a compute capability (times ten), with the options that CuPy uses.

    Raises
    ------
    CompileError
        It does not compile, or the log does not name the kernel: a template that nobody instantiates compiles to
        nothing, without a complaint.
    """
    nvrtc, program = _library(), ctypes.c_void_p()
    source = build.source_text(kernel).encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, kernel.source.encode(), 0, None, None)
    try:
        options = [*build.options(kernel), *build.ADDED_BY_CUPY, f"-arch=sm_{architecture}", "--ptxas-options=-v"]
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode(errors="replace")
        if failed:
            raise CompileError(f"{kernel.name} for sm_{architecture}:\n{log[-4000:]}")
        cubin = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return _read_log(kernel, architecture, log, cubin)


def _text(size_of, read, program) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.raw


def _read_log(kernel: Kernel, architecture: int, log: str, cubin: bytes) -> Compiled:
    parts = _ENTRY.split(log)  # before, name, architecture, rest, name, ...
    for name, arch, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        if name != kernel.name or int(arch) != architecture:
            continue
        used, spills, shared = _USED.search(rest), _SPILLS.search(rest), _SHARED.search(rest)
        if used and spills:
            stack, stores, loads = map(int, spills.groups())
            return Compiled(int(used[1]), int(shared[1]) if shared else 0, stack, stores + loads, cubin)
    raise CompileError(f"{kernel.name} for sm_{architecture}: the log does not name it:\n{log[-2000:]}")
