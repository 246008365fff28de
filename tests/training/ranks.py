"""Trainings by ranks that are threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.parallel import DataParallel
from tests.parallel.threads import ThreadCommunicator, run_ranks


def digest(model: nn.Layer) -> str:
    """The SHA-256 of all weights and statistics."""
    arrays = (np.ascontiguousarray(fc.to_numpy(tensor.array)) for tensor in model.tensors())
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def small_model(*, sync: bool = False, dropout: float = 0.3, dtype: Any = np.float32) -> nn.Sequential:
    layers = (nn.Conv2d(4, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Dropout(dropout), nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3))
    if sync:
        nn.SyncBatchNorm.convert(model)
    return model.build((6, 6, 2), dtype=dtype, seed=3)


def small_data(rows: int = 22, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, rows).astype(np.int32)


def trainer_of(model: nn.Layer, communicator: Any, **settings: Any) -> fc.Trainer:
    names = ("shards", "deterministic", "bucket_mb", "overlap", "gradients", "compare_every", "timeline")
    how = {name: settings.pop(name) for name in names if name in settings}
    optimizer = settings.pop("optimizer", None) or fc.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    loss = settings.pop("loss", None) or fc.losses.SoftmaxCrossEntropy()
    parallel = None if communicator is None else DataParallel(communicator, **how)
    return fc.Trainer(model, loss, optimizer, parallel=parallel, **settings)


def by_ranks(size: int, backend: str, work: Callable[[ThreadCommunicator], Any]) -> list[Any]:
    """Call `work` with each rank's communicator, on this backend."""

    def rank(communicator: ThreadCommunicator) -> Any:
        with fc.use_backend(backend):
            return work(communicator)

    return run_ranks(size, rank)
