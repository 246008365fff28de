"""A small model, data that it learns, and its trainer: what the tests of training share."""

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD


def model_of(seed=0, dtype=np.float32):
    return nn.Sequential(
        *(nn.Conv2d(8, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Residual(nn.Sequential(nn.Conv2d(8, 3, padding=1), nn.ReLU())),
        *(nn.Flatten(), nn.Dropout(0.2), nn.Dense(3)),
    ).build((8, 8, 2), dtype, seed)


def data_of(rng, count=96, dtype=np.float32):
    """Three classes, told apart by where a bright spot is."""
    y = rng.integers(0, 3, count).astype(np.int32)
    x = rng.standard_normal((count, 8, 8, 2)).astype(dtype)
    x[np.arange(count), 2 * y, 2 * y] += 4
    return fc.asarray(x), fc.asarray(y)


def trainer_of(model, optimizer=None, **keywords):
    optimizer = optimizer or SGD(model.parameters(), 0.05, 0.9, nesterov=True, weight_decay=1e-3)
    return fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, **keywords)


def count_calls(patch, owner, name):
    """Return a list that gets longer by one with each call of a function of a class."""
    calls, real = [], getattr(owner, name)
    patch.setattr(owner, name, lambda *given, **named: calls.append(name) or real(*given, **named))
    return calls


def weights(model):
    return {t.name: fc.to_numpy(t.data).copy() for t in model.tensors()}


def assert_same_bits(got, want):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
