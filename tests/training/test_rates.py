"""Schedules within a run: by step, by epoch, by results; warnings, refusals, and going on in the middle."""

import math
import warnings

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.optim import schedules
from fastconv.training import Callback
from tests.training.trainers import assert_same_bits, data_of, model_of, trainer_of, weights


class Rates(Callback):
    """The rate of every step."""

    def __init__(self):
        self.rates = []

    def on_step_end(self, trainer, info):
        self.rates.append(trainer.optimizer.lr)


def test_by_step_and_by_epoch(rng):
    with fc.use_backend("numpy"):
        data, seen = data_of(rng, 24), {}
        for by in ("step", "epoch"):
            trainer = trainer_of(model_of(), schedule=schedules.Exponential(0.1, 0.5, by=by), callbacks=[Rates()])
            trainer.fit(data, 2, batch_size=8)
            seen[by] = trainer.callbacks[0].rates
    assert seen["step"] == [0.1 * 0.5**step for step in range(6)]
    assert seen["epoch"] == [0.1] * 3 + [0.05] * 3


def test_the_rate_of_a_captured_step_is_the_schedules(rng):
    """By epoch, on the backend that captures: the same bits as steps done one by one."""
    schedule = schedules.Warmup(schedules.Cosine(0.1, 3, by="epoch"), 2)
    got = []
    with fc.use_backend("numba"):
        data = data_of(rng, 24)
        for capture in (True, False):
            model = model_of()
            trainer = trainer_of(model, schedule=schedule, capture=capture)
            trainer.fit(data, 4, batch_size=8)
            assert (trainer._captured is not None and trainer._captured.works) is capture
            assert trainer.history.history["learning_rate"] == [schedule(epoch) for epoch in range(4)]
            got.append(weights(model))
    assert_same_bits(*got)


def test_a_rate_that_watches_results(rng):
    """Images of noise get no better from the second epoch on with a rate of almost nothing."""
    schedule = schedules.ReduceOnPlateau(1e-12, "val_loss", patience=1, factor=0.5, threshold=0.1, eps=0.0)
    with fc.use_backend("numpy"):
        trainer, data = trainer_of(model_of(), schedule=schedule), data_of(rng, 16)
        trainer.fit(data, 5, data)
    assert trainer.history.history["learning_rate"] == [1e-12] * 3 + [5e-13] * 2
    assert schedule.state_dict()["lr"] == 2.5e-13


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.Warmup(schedules.Step(0.1, (4,)), 2),
        lambda: schedules.CosineWarmRestarts(0.1, 3, 2),
        lambda: schedules.Polynomial(0.1, 4, by="epoch"),
        lambda: schedules.ReduceOnPlateau(0.1, patience=0, threshold=0.9),
    ],
)
def test_going_on_in_the_middle_has_the_same_rates(rng, tmp_path, make):
    def trainer():
        model = model_of(3)
        return trainer_of(model, schedule=make(), callbacks=[Rates()], seed=1)

    with fc.use_backend("numpy"):
        data = data_of(rng, 16)
        whole, first, second = trainer(), trainer(), trainer()
        whole.fit(data, 4, batch_size=8)
        first.fit(data, 2, batch_size=8)
        first.save(tmp_path / "state")
        second.restore(tmp_path / "state")
        if isinstance(second.schedule, schedules.Watching):
            second.schedule.load_state_dict(first.schedule.state_dict())
        second.fit(data, 2, batch_size=8)
    assert first.callbacks[0].rates + second.callbacks[0].rates == whole.callbacks[0].rates
    assert_same_bits(weights(second.model), weights(whole.model))


def test_what_cannot_be_followed_is_refused_before_the_first_step(rng):
    with fc.use_backend("numpy"):
        data = data_of(rng, 8)
        for schedule, message in (
            (schedules.ReduceOnPlateau(0.1, "val_loss"), "monitor of ReduceOnPlateau: got 'val_loss'; allowed: 'loss'"),
            (lambda step: -0.1, "schedule: got -0.1; .*as the rate of step 0"),
            (lambda step: math.nan, "schedule: got nan"),
        ):
            model = model_of()
            before, trainer = weights(model), trainer_of(model, schedule=schedule)
            with pytest.raises(ArgumentError, match=message):
                trainer.fit(data, 2)
            assert trainer.step == 0
            assert_same_bits(weights(model), before)


def test_a_warm_up_beyond_the_end_is_told_and_goes_on_in_the_next_call(rng):
    with fc.use_backend("numpy"):
        schedule, data = schedules.Warmup(schedules.Constant(0.1), 9), data_of(rng, 8)
        trainer = trainer_of(model_of(), schedule=schedule)
        with pytest.warns(UserWarning, match=r"schedule: got Warmup\(.*warm-up ends at step 9"):
            trainer.fit(data, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.fit(data, 10)


def test_functions_of_epochs_are_told_how():
    with fc.use_backend("numpy"):
        with pytest.raises(ArgumentError, match=r"schedule: got a function of 'epoch'; .*Function\(f, by='epoch'\)"):
            trainer_of(model_of(), schedule=lambda epoch: 0.1)
        trainer_of(model_of(), schedule=schedules.Function(lambda epoch: 0.1, by="epoch"))


def test_an_epoch_that_is_not_recorded_is_not_shown(rng, monkeypatch):
    """An interrupt while the history is written: the schedule has not seen the epoch either."""
    schedule = schedules.ReduceOnPlateau(0.1, patience=0)
    with fc.use_backend("numpy"):
        trainer, data = trainer_of(model_of(), schedule=schedule), data_of(rng, 8)
        trainer.fit(data, 1)
        before = schedule.state_dict()

        def interrupted(history, logs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(type(trainer.history), "append", interrupted)
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(data, 1)
    assert schedule.state_dict() == before
    assert trainer.epoch == 1
    assert np.isfinite(before["best"])
