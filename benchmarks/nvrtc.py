"""What NVRTC says of a kernel that it compiles, without a GPU: registers, shared memory, spills."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel
from fastconv.kernels.cuda.runtime.nvrtc import CompileError, compile_text, library_path, version

__all__ = ["CompileError", "Compiled", "compile_kernel", "library_path", "version"]

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


def compile_kernel(kernel: Kernel, architecture: int) -> Compiled:
    """Compile one variant for a compute capability (times ten), with the options that the backend uses.

    Raises
    ------
    CompileError
        It does not compile, or the log does not name the kernel: a template that nobody instantiates compiles to
        nothing, without a complaint.
    """
    flags = (*build.flags(kernel), "--ptxas-options=-v")
    cubin, log = compile_text(build.source_text(kernel), kernel.source, f"sm_{architecture}", flags)
    return _read_log(kernel, architecture, log, cubin)


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
