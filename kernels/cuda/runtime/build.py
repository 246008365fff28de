"""Sources of the CUDA kernels as one string each, macros included, and how NVRTC is to compile them.

CuPy, the emulator and the compile gate all get their text from here, so what one of them ran is what the others
compile; `source_hash` says so.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from .device import Kernel

_FOLDER = Path(__file__).parents[1]
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)

ARCHITECTURES = (80, 90)
"""Compute capabilities, times ten, for which the kernels are compiled and their registers counted."""

FLAGS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space")
"""What NVRTC is told of every source besides the target. Subnormals are flushed."""

_TWO_WAYS = '#line 1 "vector.cuh"'
_UNFUSED = "-fmad=false"


@functools.cache
def _files() -> dict[str, Path]:
    return {path.name: path for path in sorted(_FOLDER.glob("*/*.cu*"))}


def path_of(name: str) -> Path:
    """Return where a source or a header is, ``"max_pool.cu"``; no two have the same name, whatever their folders."""
    return _files()[name]


def flags(kernel: Kernel) -> tuple[str, ...]:
    """Return what NVRTC is told besides the target.

    Fused multiply-adds are left to the compiler, as they are by default, but for the kernels that have a way for
    vectors and one for single elements: there it would choose anew for each, and the address of an array would decide
    on the last bit (seen on an H200: Adam). They are bound by memory, so the instructions cost nothing, and the
    emulator fuses nothing either.
    """
    return (*FLAGS, _UNFUSED) if _TWO_WAYS in source_text(kernel) else FLAGS


def source_text(kernel: Kernel) -> str:
    """Return the whole source of a kernel: its macros, then its file with the headers it includes, once and in place.

    NVRTC gets no include path, so that a kernel needs no CUDA toolkit. Line numbers in messages are those of the files.
    """
    defines = "".join(f"#define {name} {value}\n" for name, value in kernel.defines)
    return defines + inlined(kernel.source)


def source_hash(kernel: Kernel, target: str) -> str:
    """Return a hash of everything that decides what is compiled, but for the compiler's release."""
    return hashlib.sha256("\0".join([source_text(kernel), *flags(kernel), target]).encode()).hexdigest()


@functools.cache
def inlined(name: str) -> str:
    """Return a source or a header with the headers that it includes, each once and in place."""
    included: set[str] = set()

    def expand(file: str) -> str:
        lines = []
        for number, line in enumerate(path_of(file).read_text().splitlines(), start=1):
            match = _INCLUDE.match(line)
            if match and match[1] not in included:
                included.add(match[1])
                lines += [f'#line 1 "{match[1]}"', expand(match[1]), f'#line {number + 1} "{file}"']
            elif not match:
                lines.append(line)
        return "\n".join(lines)

    return f'#line 1 "{name}"\n{expand(name)}\n'
