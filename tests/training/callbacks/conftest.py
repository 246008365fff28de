"""A small trainer and data for callbacks."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD


@pytest.fixture
def trainer_and_data(rng):
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(3)).build((4,))
        x, y = rng.standard_normal((10, 4)).astype(np.float32), rng.integers(0, 3, 10).astype(np.int32)

        def make(*callbacks):
            return fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1), callbacks=callbacks)

        yield make, (x, y)
