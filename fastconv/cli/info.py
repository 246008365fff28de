"""``fastconv info``: what is installed, and what can be used here."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from pathlib import Path

from rich.table import Table

from fastconv import backends
from fastconv.cli.choices import apply_computing_options, console
from fastconv.data import default_directory
from fastconv.errors import FastconvError

_PACKAGES = ("fastconv", "numpy", "numba", "llvmlite", "safetensors", "rich", "cupy-cuda12x", "cupy-cuda13x")
_BACKENDS = ("numba", "numpy", "cupy", "cuda-emulator")
_FEATURES = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bf16", "avx512vnni", "amx-bf16", "neon", "sve", "bf16")
_VARIABLES = tuple(
    f"FASTCONV_{name}"
    for name in ("BACKEND", "EMULATOR", "NUM_THREADS", "DATA_DIR", "CACHE_DIR", "ALGORITHM", "BOUNDSCHECK")
)


def run(options: argparse.Namespace) -> int:
    """Print the tables, also where the chosen backend cannot be used: they say why."""
    try:
        apply_computing_options(options)
        active = backends.get_backend().name
    except (FastconvError, ImportError) as error:  # the latter: a broken installation, which this is to show
        active = f"none: {error}"
    versions = {"Python": platform.python_version()}
    versions |= {name: version for name in _PACKAGES if (version := _version(name))}
    _print("versions", versions)
    _print("backends", {"active": active} | {name: _state(name) for name in _BACKENDS})
    _print("CPU", _cpu())
    _print("directories", {"data sets": _directory(default_directory()), "compiled kernels": _kernel_directory()})
    _print("environment", {name: os.environ.get(name, "not set") for name in _VARIABLES})
    return 0


def _print(title: str, rows: dict[str, str]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(f"  {name}", value)
    console.print(table)
    console.print()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _state(name: str) -> str:
    try:
        reason = backends.why_unavailable(name)
    except ImportError as error:
        reason = str(error)
    return "usable" if reason is None else f"unusable: {reason}"


def _cpu() -> dict[str, str]:
    from llvmlite import binding as llvm

    from fastconv.kernels.cpu import amx, bf16, fixed
    from fastconv.kernels.cpu.launch import get_num_threads
    from fastconv.kernels.cpu.simd import VECTOR_BYTES

    fast = "bfloat16 in tile registers (AMX)" if amx.usable() else "bfloat16 by dot products (AVX512_BF16)"
    if fixed.FIXED and not amx.usable():
        fast += ", Winograd in 16-bit fixed point (AVX512_VNNI)"
    features = llvm.get_host_cpu_features()
    return {
        "name": llvm.get_host_cpu_name(),
        "features": ", ".join(name for name in _FEATURES if features.get(name)) or "none of note",
        "vectors": f"{VECTOR_BYTES // 4} floats",
        "fast precision": fast if bf16.DOT else "not on this CPU: it has no AVX512_BF16",
        "cores": f"{os.cpu_count()}, of which this process may use {len(os.sched_getaffinity(0))}",
        "threads": str(get_num_threads()),
    }


def _directory(path: Path) -> str:
    return str(path) if path.is_dir() else f"{path} (not there)"


def _kernel_directory() -> str:
    from fastconv.kernels.cpu.cache import cache_directory

    path = cache_directory()
    if path is None:
        return "none: kernels are compiled in each process"
    files = list(path.glob("*.kernel"))
    return f"{path} ({len(files)} kernels, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB)"
