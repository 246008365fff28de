"""``fastconv info``: what is installed, and what can be used here."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path

from fastconv import backends
from fastconv._console import make_table, print_table
from fastconv.algorithm import get_algorithm
from fastconv.cli.choices import apply_computing_options
from fastconv.data import default_directory
from fastconv.errors import FastconvError

_PACKAGES = ("fastconv", "numpy", "numba", "llvmlite", "safetensors", "rich", "cupy-cuda12x", "cupy-cuda13x")
_VARIABLES = tuple(
    f"FASTCONV_{name}"
    for name in ("BACKEND", "EMULATOR", "NUM_THREADS", "DATA_DIR", "CACHE_DIR", "ALGORITHM", "BOUNDSCHECK")
)
_UNUSABLE = (FastconvError, ImportError)  # the latter: a broken installation, which this is to show


def run(options: argparse.Namespace) -> int:
    """Print the tables, also where the chosen backend cannot be used: they say why.

    Without the kernels of the CPU installation or environment are broken, which is an error at the end.
    """
    active = _read(lambda: _activate(options))
    algorithm = "none" if active.startswith("none") else _read(get_algorithm)
    versions = {"Python": platform.python_version()}
    versions |= {name: version for name in _PACKAGES if (version := _version(name))}
    states = {name: _why_unusable(name) for name in backends.NAMES}
    broken = states["numba"]
    _print("versions", versions)
    _print(
        "backends",
        {"active": active, "algorithm": algorithm}
        | {name: "usable" if error is None else f"unusable: {error}" for name, error in states.items()},
    )
    kernels = "none: no kernels can be compiled"
    cpu = {"kernels": "unusable, see above"}
    if broken is None:
        cpu = dict(backends.get_backend("numba").facts())
        kernels = cpu.pop("compiled kernels")
    _print("CPU", cpu)
    _print("directories", {"data sets": _directory(default_directory()), "compiled kernels": kernels})
    _print("environment", {name: os.environ.get(name, "not set") for name in _VARIABLES})
    if broken is not None:
        raise broken
    return 0


def _activate(options: argparse.Namespace) -> str:
    apply_computing_options(options)
    return backends.get_backend().name


def _read(read: Callable[[], str]) -> str:
    try:
        return read()
    except _UNUSABLE as error:
        return f"none: {error}"


def _print(title: str, rows: dict[str, str]) -> None:
    table = make_table("", "")
    table.show_header = False
    first, second = table.columns
    first.no_wrap, first.min_width = True, 18
    second.overflow = "fold"
    for name, value in rows.items():
        table.add_row(f"  {name}", value)
    print(title)
    print_table(table)
    print()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _why_unusable(name: str) -> Exception | None:
    try:
        backends.get_backend(name)
    except _UNUSABLE as error:
        return error
    return None


def _directory(path: Path) -> str:
    return str(path) if os.path.isdir(path) else f"{path} (not there)"
