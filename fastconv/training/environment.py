"""What a training ran with: what has to be known to compare two of them, or to get the same bits again."""

from __future__ import annotations

import hashlib
import platform
import sys
from typing import Any

from fastconv.algorithm import get_algorithm
from fastconv.backends import get_backend
from fastconv.data import Dataset
from fastconv.precision import get_precision

_PACKAGES = ("fastconv", "numpy", "numba", "llvmlite", "safetensors", "cupy")
_AT_ONCE = 1024  # images that are copied for the digest
_ELSEWHERE = ("threads", "compiled kernels")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute, those that are in use."""
    loaded = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}  # importlib.metadata takes longer
    return {"python": platform.python_version(), **{name: str(each.__version__) for name, each in loaded.items()}}


def environment() -> dict[str, Any]:
    """Return versions, machine, backend, threads, precision and algorithm, as they are now."""
    backend = get_backend()
    return {
        "versions": versions(),
        "system": f"{platform.system()} {platform.release()}",
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
