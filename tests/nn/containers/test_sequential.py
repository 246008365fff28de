"""A Sequential as a sequence of its layers, which nothing takes for a list of something else."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.errors import ArgumentError
from tests.training.trainers import trainer_of


def test_its_layers_are_counted_named_and_iterated_over():
    first, second, third = nn.Dense(4), nn.ReLU(), nn.Dense(2)
    model = nn.Sequential(first, second, third)
    assert len(model) == 3
    assert list(model) == [first, second, third]
    assert list(reversed(model)) == [third, second, first]
    assert (model[0], model[-1]) == (first, third)
    assert model[:-1] == [first, second]
    assert second in model
    with pytest.raises(IndexError):
        model[3]
    assert len(nn.Sequential(*model[:-1], nn.Dense(3))) == 3


def test_it_is_true_whatever_its_length():
    class Empty(nn.Sequential):
        def __len__(self):
            return 0

    assert bool(nn.Sequential(nn.ReLU()))
    assert bool(Empty(nn.ReLU()))


def test_it_is_one_layer_inside_of_another():
    inner = nn.Sequential(nn.Dense(4), nn.ReLU())
    assert list(nn.Sequential(inner)) == [inner]
    assert nn.Sequential([inner, nn.Dense(2)])[0] is inner
    with pytest.raises(ArgumentError, match="branches: got 1; allowed: at least two"):
        nn.Parallel(inner)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: optim.Adam(m), r"parameters: got Sequential; allowed: parameters, as in Adam\(model.parameters\(\)"),
        (lambda m: optim.Adam([{"params": m}]), r"parameters\[0\]\['params'\]: got Sequential; "),
        (lambda m: trainer_of(m, callbacks=m), "callbacks: got Sequential"),
        (lambda m: trainer_of(m, metrics=m), "metrics: got Sequential"),
        (lambda m: trainer_of(m).fit(m, 3), "train: got Sequential; allowed: a pair of arrays"),
        (lambda m: trainer_of(m).evaluate(m), "data: got Sequential; allowed: a pair of arrays"),
        (lambda m: optim.Pruning(optim.SGD(m.parameters()), 10, layers=m), "layers: got Sequential"),
        (lambda m: m.predict(m), "x: got Sequential; "),
    ],
)
def test_nothing_takes_it_for_a_list(call, message):
    with fc.use_backend("numpy"), pytest.raises((ArgumentError, TypeError), match=f"^{message}"):
        call(nn.Sequential(nn.Dense(2)).build((3,)))


def test_a_model_of_one_trains_as_before():
    with fc.use_backend("numpy"):
        trainer = trainer_of(nn.Sequential(nn.Dense(2)).build((3,)))
        trainer.train_step(np.ones((4, 3), np.float32), np.zeros(4, np.int32))
        assert trainer.step == 1
