"""Less when there is no progress: values by hand, state, and Keras' way of counting."""

import json
import math

import numpy as np
import pytest

from fastconv.errors import ArgumentError, CheckpointError
from fastconv.optim import schedules


def rates(schedule, values, name="loss"):
    """The rate of each epoch, and of the one behind the last."""
    found = [schedule(0)]
    for value in values:
        schedule.observe({name: value})
        found.append(schedule(0))
    return found


def test_more_than_patience_epochs_without_progress():
    schedule = schedules.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert rates(schedule, [3, 2, 2, 2, 2, 2, 1]) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_no_bad_epochs_while_it_cools_down():
    schedule = schedules.ReduceOnPlateau(1.0, factor=0.5, patience=0, cooldown=2)
    assert rates(schedule, [1, 1, 1, 1, 1, 1]) == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_how_much_better_counts():
    assert rates(schedules.ReduceOnPlateau(1.0, patience=0, threshold=0.1), [10, 9.1])[-1] == 0.1
    assert rates(schedules.ReduceOnPlateau(1.0, patience=0, threshold=0.1), [10, 8.9])[-1] == 1
    absolute = {"patience": 0, "threshold": 0.1, "threshold_mode": "abs"}
    assert rates(schedules.ReduceOnPlateau(1.0, **absolute), [10, 9.95])[-1] == 0.1
    assert rates(schedules.ReduceOnPlateau(1.0, **absolute), [10, 9.85])[-1] == 1


def test_never_below_the_least():
    schedule = schedules.ReduceOnPlateau(1.0, patience=0, min_lr=0.05)
    assert rates(schedule, [1] * 5) == pytest.approx([1, 1, 0.1, 0.05, 0.05, 0.05])
    tiny = schedules.ReduceOnPlateau(1e-8, patience=0)
    assert rates(tiny, [1, 1, 1])[-1] == 1e-8  # a change of eps or less is left out


def test_what_is_not_a_number_is_no_progress():
    schedule = schedules.ReduceOnPlateau(1.0, patience=1, factor=0.5)
    assert rates(schedule, [math.nan, 1.0, math.nan, math.nan]) == [1, 1, 1, 1, 0.5]


def test_what_is_infinite_is_not_the_best_for_ever():
    """Nothing is less than infinity by a share of it."""
    schedule = schedules.ReduceOnPlateau(1.0, patience=0, factor=0.5)
    assert rates(schedule, [math.inf, 3.0, 2.0, 1.0]) == [1, 0.5, 0.5, 0.5, 0.5]
    schedule.load_state_dict({"lr": 1.0, "best": math.inf, "bad_epochs": 0, "cooldown": 0})
    assert rates(schedule, [3.0, 2.0]) == [1, 1, 1]
    rising = schedules.ReduceOnPlateau(1.0, "val_f1", mode="max", patience=0, factor=0.5)
    assert rates(rising, [1.0, math.inf, 2.0, 3.0], "val_f1") == [1, 1, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("name", ["accuracy", "val_accuracy", "val_f1"])
def test_an_accuracy_whose_loss_is_not_finite_is_no_progress(name):
    schedule = schedules.ReduceOnPlateau(1.0, name, mode="max", patience=0, factor=0.5)
    loss = "val_loss" if name.startswith("val_") else "loss"
    for value, its in ((0.9, math.nan), (0.8, math.inf), (0.1, 1.0), (0.2, 0.9)):
        schedule.observe({"loss": 0.5, name: value, loss: its})
    assert (schedule(0), schedule.state_dict()["best"]) == (0.25, 0.2)


@pytest.mark.parametrize(("name", "rises"), [("val_accuracy", True), ("val_loss", False), ("loss", False)])
def test_which_way_is_better(name, rises):
    schedule = schedules.ReduceOnPlateau(1.0, name, patience=0)
    assert rates(schedule, [1, 2], name)[-1] == (1 if rises else 0.1)
    assert rates(schedules.ReduceOnPlateau(1.0, name, patience=0), [2, 1], name)[-1] == (0.1 if rises else 1)


def test_watches_the_validation_where_there_is_one():
    schedule = schedules.ReduceOnPlateau(1.0, patience=0)
    for val_loss in (1.0, 2.0):
        schedule.observe({"loss": 3 - val_loss, "val_loss": val_loss})
    assert schedule(0) == 0.1
    with pytest.raises(ArgumentError, match="monitor: got 'accuracy'; allowed: what this training records, loss"):
        schedules.ReduceOnPlateau(1.0, "accuracy").observe({"loss": 1.0})


def keras_rates(values, factor, patience, min_delta, cooldown, min_lr):
    """Keras' callback as it is documented: `patience` bad epochs suffice, and cooling ends one earlier."""
    lr, best, wait, cooling, found = 1.0, math.inf, 0, 0, [1.0]
    for value in values:
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if value < best - min_delta:
            best, wait = value, 0
        elif cooling == 0:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, cooling, wait = max(lr * factor, min_lr), cooldown, 0
        found.append(lr)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_as_keras_counts(seed):
    rng = np.random.default_rng(seed)
    patience, cooldown = int(rng.integers(1, 4)), int(rng.integers(0, 4))
    values = np.round(1 / np.arange(1, 41) + rng.uniform(0, 0.3, 40), 1)
    schedule = schedules.ReduceOnPlateau(
        1.0, "loss", "min", 0.5, patience - 1, 0.05, "abs", max(cooldown - 1, 0), eps=0.0
    )
    assert rates(schedule, values) == pytest.approx(keras_rates(values, 0.5, patience, 0.05, cooldown, 0.0))


def test_goes_on_from_its_state():
    values = [3, 2, 2, 2, 1, 1, 1, 1, 0.5]
    whole = schedules.ReduceOnPlateau(1.0, patience=1, cooldown=1)
    wanted = rates(whole, values)
    for stop in range(len(values) + 1):
        first, then = (schedules.ReduceOnPlateau(1.0, patience=1, cooldown=1) for _ in range(2))
        got = rates(first, values[:stop])[:-1]
        then.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert got + rates(then, values[stop:]) == wanted
    with pytest.raises(CheckpointError, match=r"state: got \{'lr': 1.0\}"):
        whole.load_state_dict({"lr": 1.0})
    assert whole(0) == wanted[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1}, "lr: got -1"),
        ({"factor": 1.0}, "factor: got 1.0; allowed: .*below 1"),
        ({"mode": "mn"}, r"mode: got 'mn'; allowed: 'auto', 'min', 'max' \(nearest: 'min'\)"),
        ({"monitor": "val_f1"}, "mode: got 'auto' with monitor='val_f1'; allowed: 'min' or 'max'"),
        ({"monitor": 3}, "monitor: got 3"),
        ({"patience": -1}, "patience: got -1"),
        ({"cooldown": -1}, "cooldown: got -1"),
        ({"threshold": -1}, "threshold: got -1"),
        ({"threshold_mode": "relative"}, r"threshold_mode: got 'relative'; .*nearest: 'rel'"),
        ({"min_lr": -1}, "min_lr: got -1"),
        ({"by": "step"}, "by: got 'step'; allowed: 'epoch'"),
        ({"min_delta": 1}, r"min_delta: got it for ReduceOnPlateau, .*nearest: 'threshold'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ArgumentError, match=message):
        schedules.ReduceOnPlateau(**({"lr": 0.1} | settings))
