"""What a training ran with: what has to be known to compare two of them, or to get the same bits again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from typing import Any

from fastconv.algorithm import get_algorithm
from fastconv.backends import get_backend
from fastconv.data import Dataset
from fastconv.precision import get_precision

_PACKAGES = ("fastconv", "numpy", "numba", "llvmlite", "safetensors", "cupy-cuda12x", "cupy-cuda13x")
_AT_ONCE = 1024  # images that are copied for the digest
_ELSEWHERE = ("threads", "compiled kernels")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, Any]:
    """Return versions, machine, backend, threads, precision and algorithm, as they are now."""
    backend = get_backend()
    return {
        "versions": versions(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "backend": backend.name,
        "threads": backend.num_threads,
        "precision": get_precision(),
        "algorithm": get_algorithm(),
        "facts": {name: text for name, text in backend.facts().items() if name not in _ELSEWHERE},
    }


def data_facts(train: Dataset, test: Dataset) -> dict[str, Any]:
    """Return by what the images of a run are known again: how many they are, and a digest of pixels and labels."""
    digest = hashlib.sha256()
    for data in (train, test):
        for array in (data.images, data.labels):
            digest.update(f"{array.dtype.str} {array.shape} ".encode())
            for begin in range(0, len(array), _AT_ONCE):
                digest.update(array[begin : begin + _AT_ONCE].tobytes())
    return {
        "name": train.name,
        "train": len(train),
        "test": len(test),
        "class_names": list(train.class_names),
        "sha256": digest.hexdigest(),
    }
