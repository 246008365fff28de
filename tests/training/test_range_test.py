"""The learning-rate range test: nothing is changed, what it finds, when it stops."""

import json
import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, nn
from fastconv.errors import ArgumentError, DivergenceError
from fastconv.optim import Adam, schedules
from fastconv.training import Callback, RangeTest, find_learning_rate, range_test
from tests.training.trainers import assert_same_bits, data_of, model_of, trainer_of, weights


class Fails(Callback):
    def on_step_end(self, trainer, info):
        raise AssertionError


def test_everything_is_as_it_was_afterwards(backend, rng):
    """And goes on as if nothing had been: weights, running statistics, optimizer, history, loader, callbacks."""
    x, y = data_of(rng, 48)
    runs = []
    for tested in (True, False):
        model = model_of(2)
        trainer = trainer_of(model, Adam(model.parameters(), 0.01), schedule=schedules.Cosine(0.01, 12), seed=4)
        loader = data.DataLoader((x, y), 16, seed=5)
        trainer.fit(loader, 2)
        if tested:
            before, state = weights(model), trainer.optimizer.state_dict()
            trainer.callbacks = [Fails()]
            result = find_learning_rate(trainer, loader, 1e-6, 1e3, 20)
            assert result.diverged or len(result.rates) == 20
            trainer.callbacks = []
            assert_same_bits(weights(model), before)
            assert_same_bits(trainer.optimizer.state_dict()["tensors"], state.pop("tensors"))
            assert {**trainer.optimizer.state_dict(), "tensors": None} == {**state, "tensors": None}
            assert (trainer.step, trainer.epoch, trainer.history.epochs, loader.epoch) == (6, 2, 2, 2)
        trainer.fit(loader, 2)
        runs.append((weights(model), trainer.history.history["loss"]))
    assert_same_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_rates_rise_exponentially_and_losses_are_those_of_the_steps(rng):
    with fc.use_backend("numpy"):
        batches = [tuple(data_of(rng, 16)) for _ in range(3)]
        trainer, by_hand = trainer_of(model_of()), trainer_of(model_of())
        result = find_learning_rate(trainer, batches, 1e-4, 1e-2, 5, smoothing=0.5)
        by_hand.schedule = schedules.Exponential(1e-4, 100, 4)
        losses = [float(by_hand.train_step(*batches[i % 3])) for i in range(5)]
    assert result.rates == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2], rel=1e-12)
    assert list(result.losses) == losses
    a, b, c = losses[:3]
    assert result.smoothed[:3] == pytest.approx([a, (a + 2 * b) / 3, (a + 2 * b + 4 * c) / 7], rel=1e-12)
    assert not result.diverged


def test_a_pair_of_arrays_comes_in_the_order_of_the_seed(rng):
    with fc.use_backend("numpy"):
        pair = data_of(rng, 32)
        got, other = (find_learning_rate(trainer_of(model_of(), seed=seed), pair, batch_size=8) for seed in (4, 5))
        loader = data.DataLoader(pair, 8, seed=4)
        assert got == find_learning_rate(trainer_of(model_of(), seed=4), loader)
    assert got.losses != other.losses
    assert loader.epoch == 0


def test_steps_are_replayed(rng, monkeypatch):
    twins = []
    copy_of = range_test._copy_of
    monkeypatch.setattr(range_test, "_copy_of", lambda trainer: twins.append(copy_of(trainer)) or twins[-1])
    with fc.use_backend("numba"):
        find_learning_rate(trainer_of(model_of()), data_of(rng, 32), 1e-4, 1e-2, 6, batch_size=8)
        assert twins[0]._captured.works
        assert twins[0].optimizer.steps == 6


def test_stops_where_the_loss_gets_out_of_hand(rng):
    with fc.use_backend("numpy"):
        trainer, pair = trainer_of(model_of()), data_of(rng, 64)
        result = find_learning_rate(trainer, pair, 1e-3, 1e8, 50, batch_size=16)
        assert result.diverged
        assert 5 < len(result.rates) < 50
        assert all(map(math.isfinite, result.losses))
        assert 1e-3 < result.suggestion.steepest < 10
        wrong = (fc.asarray(np.full((16, 8, 8, 2), np.nan, np.float32)), pair[1][:16])
        with pytest.raises(DivergenceError, match=r"loss: got nan in the first step, at 0\.001"):
            find_learning_rate(trainer, wrong, 1e-3)
        assert np.isfinite(float(trainer.train_step(pair[0][:16], pair[1][:16])))


def test_suggestions():
    """Rates 1e-4, 1e-3...: the steepest fall is from the third to the fourth, the least loss at the fifth."""
    smoothed = (3.0, 2.9, 2.7, 1.5, 1.0, 2.0)
    result = RangeTest(tuple(10.0**i for i in range(-4, 2)), smoothed, smoothed, True)
    # Slopes at the third and fourth are half the differences of their neighbours: -0.7 and -0.85.
    assert result.suggestion == (0.1, 0.1)
    assert RangeTest((0.1, 1.0, 10.0), (1, 2, 3), (1, 2, 3), True).suggestion is None
    late = (9.0, 8.0, 7.9, 7.0, *np.linspace(6.9, 3, 16), 9.0)  # the first two are a tenth
    assert RangeTest(tuple(10.0**i for i in range(21)), late, late, True).suggestion.steepest == 100.0
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["suggestion"] == {"steepest": 0.1, "tenth_of_minimum": 0.1}
    assert plain["rates"] == list(result.rates)
    assert set(plain) == {"rates", "losses", "smoothed", "diverged", "suggestion"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer": nn.ReLU()}, "trainer: got ReLU; allowed: a Trainer"),
        ({"low": 0}, "low: got 0"),
        ({"low": 1, "high": 1}, "high: got 1; allowed: .*above 1"),
        ({"steps": 2}, "steps: got 2"),
        ({"smoothing": 1}, "smoothing: got 1"),
        ({"stop_at": 1}, "stop_at: got 1"),
        ({"train": [1]}, "train: got a batch that is int"),
        ({"train": "data"}, "train: got str"),
        ({"train": [(0, 0), (0, 0), (0, 0)], "batch_size": 3}, "batch_size: got 3 with batches"),
    ],
)
def test_refuses(rng, change, message):
    with fc.use_backend("numpy"):
        arguments = {"trainer": trainer_of(model_of()), "train": data_of(rng, 8), **change}
        with pytest.raises(ArgumentError, match=message):
            find_learning_rate(**arguments)
