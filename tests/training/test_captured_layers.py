"""Steps with each layer of the library are captured, and give the bits of those that are not."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from tests.nn.layers.test_layers import LAYERS


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_is_replayed(rng, name):
    make, shape = LAYERS[name]
    batches = [(rng.standard_normal((4, *shape[1:])).astype(np.float32), rng.integers(0, 3, 4)) for _ in range(2)]
    results = []
    with fc.use_backend("numba"):
        for capture in (False, True):
            ending = [nn.Flatten()] if len(make().build(shape[1:]).infer(shape[1:])) == 3 else []
            model = nn.Sequential(nn.Scale(1.0), make(), *ending, nn.Dense(3)).build(shape[1:], seed=1)
            optimizer = SGD(model.parameters(), 0.05, 0.9)
            trainer = fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, seed=4, capture=capture)
            losses = [np.array(trainer.train_step(x, y.astype(np.int32))) for x, y in batches * 2]
            assert (trainer._captured is not None and trainer._captured.works) == capture
            results.append([array.tobytes() for array in (*losses, *(np.array(t.data) for t in model.tensors()))])
    assert results[0] == results[1]
