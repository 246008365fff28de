"""A model, batches and trainers that are captured or not, and whether they came to the same bits."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD


def model_of(dtype=np.float32, p=0.2):
    return nn.Sequential(
        *(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Residual(nn.Sequential(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d())),
        *(nn.ReLU(), nn.Conv2d(8, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Dropout(p), nn.Dense(3)),
    ).build((8, 8, 2), dtype, seed=1)


def batches_of(rng, count=3, size=12, dtype=np.float32):
    return [
        (rng.standard_normal((size, 8, 8, 2)).astype(dtype), rng.integers(0, 3, size).astype(np.int32))
        for _ in range(count)
    ]


def trainer_of(model, *, capture, optimizer=None, **keywords):
    optimizer = optimizer or SGD(model.parameters(), 0.05, 0.9, nesterov=True, weight_decay=1e-3)
    return fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, seed=4, capture=capture, **keywords)


def state_of(trainer):
    tensors = {t.name: np.array(t.data) for t in trainer.model.tensors()}
    grads = {f"grad of {p.name}": np.array(p.grad) for p in trainer.model.parameters()}
    return tensors | grads | trainer.optimizer.state_dict()["tensors"]


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def both(run):
    """Return what `run` returns without and with capture; the second trainer must have captured."""
    trainers = [trainer_of(model_of(), capture=capture) for capture in (False, True)]
    results = [run(trainer) for trainer in trainers]
    assert_same_bits(state_of(trainers[0]), state_of(trainers[1]))
    assert trainers[0]._captured is None
    assert trainers[1]._captured.works
    return results


def steps(trainer, batches):
    return [np.array(trainer.train_step(x, y)) for x, y in batches]
