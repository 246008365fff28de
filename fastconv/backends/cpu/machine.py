"""What the CPU has for the kernels."""

from __future__ import annotations

import os

from llvmlite import binding as llvm

from fastconv.kernels.cpu.runtime.cache import cache_directory
from fastconv.kernels.cpu.runtime.launch import get_num_threads
from fastconv.kernels.cpu.vector import amx, bf16, fixed_point
from fastconv.kernels.cpu.vector.simd import VECTOR_BYTES

_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bf16", "avx512vnni", "amx-bf16", "neon", "sve", "bf16")


def facts() -> dict[str, str]:
    """Return what `fastconv info` shows of the CPU, and where compiled kernels are kept."""
    fast = "bfloat16 in tile registers (AMX)" if amx.usable() else "bfloat16 by dot products (AVX512_BF16)"
    if fixed_point.FIXED and not amx.usable():
        fast += ", Winograd in 16-bit fixed point (AVX512_VNNI)"
    features = llvm.get_host_cpu_features()
    return {
        "name": llvm.get_host_cpu_name(),
        "features": ", ".join(name for name in _FEATURES if features.get(name)) or "none of note",
        "vectors": f"{VECTOR_BYTES // 4} floats",
        "fast precision": fast if bf16.DOT else "not on this CPU: it has no AVX512_BF16",
        "cores": f"{os.cpu_count()}, of which this process may use {len(os.sched_getaffinity(0))}",
        "threads": str(get_num_threads()),
        "compiled kernels": _kernel_directory(),
    }


def _kernel_directory() -> str:
    path = cache_directory()
    if path is None:
        return "none: kernels are compiled in each process"
    files = list(path.glob("*.kernel"))
    return f"{path} ({len(files)} kernels, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB)"
