"""Sources of the CUDA kernels as one string each, and how NVRTC is to compile them.

CuPy, the emulator and the compile gate all get their text from here, so what one of them ran is what the others
compile; `source_hash` says so.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from .device import Kernel

_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)

ARCHITECTURES = (80, 90)
"""Compute capabilities, times ten, for which the kernels are compiled and their registers counted."""


def source_text(kernel: Kernel) -> str:
    """Return the whole source of a kernel: its file with the headers it includes, each once and in place.

    NVRTC gets no include path, so that a kernel needs no CUDA toolkit. Line numbers in messages are those of the files.
    """
    return _inlined(kernel.source)


def source_hash(kernel: Kernel) -> str:
    """Return a hash of everything that decides what the kernel computes: its source and its macros."""
    return hashlib.sha256("\0".join([source_text(kernel), *defines(kernel)]).encode()).hexdigest()


def defines(kernel: Kernel) -> tuple[str, ...]:
    """Return the macros of a variant as options of a compiler."""
    return tuple(f"-D{name}={value}" for name, value in kernel.defines)


def options(kernel: Kernel) -> tuple[str, ...]:
    """Return the options for CuPy, which adds those of `ADDED_BY_CUPY` and the architecture itself."""
    return ("--std=c++17", *defines(kernel))


ADDED_BY_CUPY = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy adds for NVRTC, and the compile gate must add to compile the same. Subnormals are flushed; fused
multiply-adds are left to the compiler, as they are by default."""


@functools.cache
def _inlined(name: str) -> str:
    included: set[str] = set()

    def expand(file: str) -> str:
        lines = []
        for number, line in enumerate((_FOLDER / file).read_text().splitlines(), start=1):
            match = _INCLUDE.match(line)
            if match and match[1] not in included:
                included.add(match[1])
                lines += [f'#line 1 "{match[1]}"', expand(match[1]), f'#line {number + 1} "{file}"']
            elif not match:
                lines.append(line)
        return "\n".join(lines)

    return f'#line 1 "{name}"\n{expand(name)}\n'
