"""What a step takes from a loss of one's own: what it is given, and what it may return."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from tests.training.trainers import assert_same_bits, data_of, model_of, weights


def test_an_own_loss_gets_what_was_checked(backend, rng):
    x, y = (np.array(fc.to_numpy(array)) for array in data_of(rng, 8))
    seen = []

    def loss(predictions, targets):
        seen.append(targets)
        return SoftmaxCrossEntropy()(predictions, targets)

    model = model_of()
    trainer = fc.Trainer(model, loss, SGD(model.parameters(), 0.1))
    trainer.train_step(x, y.astype(">i8")[::-1])
    trainer.evaluate([(x, y.astype(">i8"))])
    assert all(targets.dtype.isnative and targets.flags.c_contiguous for targets in map(fc.to_numpy, seen))
    for bad in (y[:-1], y[:, None][:3], np.int32(1)):
        with pytest.raises(fc.errors.FastconvError, match="y: got"):
            trainer.train_step(x, bad)


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.array([0.25]), np.array(0.25, np.float32), 1])
def test_a_loss_may_be_a_number(backend, rng, value):
    x, y = data_of(rng, 8)
    model = model_of()
    trainer = fc.Trainer(model, lambda p, t: (value, SoftmaxCrossEntropy()(p, t)[1]), SGD(model.parameters(), 0.1))
    loss = trainer.train_step(x, y)
    assert (loss.shape, loss.dtype) == ((), np.float32)
    assert float(loss) == trainer.evaluate((x, y))["loss"] == float(np.ravel(value)[0])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda p: 0.5, r"loss: got float from .*allowed: a pair"),
        (lambda p: (0.5, p, p), r"loss: got tuple from"),
        (lambda p: (p[:, 0], p), r"loss: got shape \(8,\) from .*the mean over the batch"),
        (lambda p: ("low", p), r"loss: got 'low' from"),
        (lambda p: (0.5, 0.0), r"gradient of the loss: got float"),
        (lambda p: (0.5, p[:2]), r"gradient of the loss: got shape \(2, 3\); allowed: \(8, 3\)"),
        (lambda p: (0.5, p.astype(np.float64)), r"gradient of the loss: got float64"),
    ],
)
def test_a_loss_that_returns_something_else_is_refused(backend, rng, result, message):
    x, y = data_of(rng, 8)
    model = model_of()
    before = weights(model)
    trainer = fc.Trainer(model, lambda p, t: result(p), SGD(model.parameters(), 0.1))
    for use in (lambda: trainer.train_step(x, y), lambda: trainer.evaluate((x, y))):
        with pytest.raises(fc.errors.FastconvError, match=message):
            use()
    assert_same_bits(weights(model), before)  # the running statistics, too
    assert trainer.step == trainer.optimizer.steps == 0
