"""The state of an optimizer whose parameters moved: of layers that were built into another model, and of copies."""

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import EMA, SGD, Adam, Lookahead, Pruning

BATCH = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2], np.int32)
MOVES = {
    "swapped": lambda m: nn.Sequential(m[1], m[0]),
    "apart": lambda m: nn.Sequential(m[0], nn.Dense(7), nn.Dense(4), m[1]),
}
OPTIMIZERS = {
    "momentum": lambda parameters: SGD(parameters, 0.1, momentum=0.9),
    "nested": lambda parameters: EMA(Lookahead(Adam(parameters, 0.1), k=2), decay=0.5),
    "pruning": lambda parameters: Pruning(SGD(parameters, 0.1, momentum=0.9), 2, frequency=1, keep_last=False),
}


def trained(make):
    model = nn.Sequential(nn.Dense(4), nn.Dense(4)).build((4,), seed=1)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), make(model.parameters()), seed=0)
    for _ in range(3):
        trainer.train_step(*map(fc.asarray, BATCH))
    return trainer


def after_a_step(model, optimizer):
    """The state of copies after one more step, by places."""
    fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, seed=0).train_step(*map(fc.asarray, BATCH))
    return [fc.to_numpy(tensor.data).copy() for layer in model.layers for tensor in layer.own_tensors()]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_goes_on_from_the_state_of_its_parameters(backend, move, kind, copied):
    """Wherever they lie in the arenas of the copy: the layers were built into another model in the meantime."""
    trainer = trained(OPTIMIZERS[kind])
    want = after_a_step(*copy.deepcopy((trainer.model, trainer.optimizer)))
    MOVES[move](trainer.model).build((4,), seed=2)
    got = after_a_step(*copied((trainer.model, trainer.optimizer)))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_state_says_what_belongs_to_which_parameter(backend, move, kind):
    trainer = trained(OPTIMIZERS[kind])
    before, names = trainer.optimizer.state_dict()["tensors"], [p.name for p in trainer.model.parameters()]
    MOVES[move](trainer.model).build((4,), seed=2)
    after = trainer.optimizer.state_dict()["tensors"]
    now = [tensor.name for layer in trainer.model.layers for tensor in layer.own_tensors()]
    assert names != now
    for key, array in before.items():
        state, _, name = key.rpartition("/")
        np.testing.assert_array_equal(after[f"{state}/{now[names.index(name)]}"], array)
    if kind == "pruning":
        assert set(trainer.optimizer.sparsity) < set(now)
