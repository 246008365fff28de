"""Backends for tests: skipped where what they need is not installed, and nowhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.errors import BackendUnavailableError

NEEDS: Mapping[str, Callable[[], bool]] = {
    "numpy": lambda: True,
    "numba": lambda: find_spec("numba") is not None,
    "cuda-emulator": lambda: shutil.which(os.environ.get("CXX") or "g++") is not None,
    "cupy": Path("/proc/driver/nvidia/version").exists,
}


def backend_or_skip(name: str) -> Backend:
    """Return a backend. One that has what it needs, and cannot be used, fails the test: else none would run, unseen."""
    try:
        return get_backend(name)
    except BackendUnavailableError as error:
        if NEEDS[name]():
            raise
        pytest.skip(str(error))
