"""When training ends early, and with which weights."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.metrics import F1, MeanAbsoluteError
from fastconv.training import Callback, EarlyStopping
from fastconv.training.callbacks.monitor import score

from .runs import data_of, scripted, trainer_of


@pytest.fixture(autouse=True)
def _numpy():
    with fc.use_backend("numpy"):
        yield


def run(losses, **settings):
    """Return the callback, the trainer and the weights after each epoch of a run with these validation losses."""
    weights = []

    class Watch(Callback):
        def on_epoch_end(self, trainer, logs):
            weights.append(np.array(trainer.model.parameters()[0].data))

    stopping = EarlyStopping(**settings)
    trainer = trainer_of(stopping, Watch())
    scripted(trainer, losses)
    trainer.fit(data_of(), len(losses), data_of(seed=1), batch_size=5)
    return stopping, trainer, weights


@pytest.mark.parametrize(
    ("losses", "settings", "epochs", "best"),
    [
        # As tf.keras.callbacks.EarlyStopping does with the same losses, epochs counted from 1.
        ([3, 2, 1, 1.5, 1.4, 1.3, 0.5], {"patience": 2}, 5, 3),
        ([3, 2, 1, 1.5, 1.4, 0.9, 1.3, 1.2, 1.1, 0], {"patience": 3}, 9, 6),
        ([1, 2, 3], {"patience": 0}, 2, 1),
        ([3, 2, 2, 1], {"patience": 0}, 3, 2),
        ([3, 2.95, 2.91, 2.85, 2.5], {"patience": 2, "min_delta": 0.1}, 3, 1),
        ([3, 2.8, 2.75, 2.6], {"patience": 2, "min_delta": 0.1}, 4, 4),
        ([3, 2, 1.5, 1.2], {"patience": 2, "baseline": 1.0}, 4, 4),  # each epoch is better, though not good enough
        ([3, 2, 2.5, 0.5], {"patience": 2, "baseline": 1.0}, 3, 2),  # the first that is not: three since the beginning
        ([3, 0.9, 1.5, 1.2, 0.1], {"patience": 2, "baseline": 1.0}, 4, 2),
        ([3, np.nan, np.nan, 1], {"patience": 2}, 3, 1),
        ([np.nan, 2, 1], {"patience": 1}, 3, 3),
        ([1, 2, 3, 1, 9], {"patience": 1, "mode": "max"}, 4, 3),
    ],
)
def test_training_ends_where_keras_ends_it(losses, settings, epochs, best):
    stopping, trainer, _ = run(losses, **settings)
    assert (trainer.epoch, stopping.best_epoch) == (epochs, best)
    assert stopping.stopped_epoch == (epochs if epochs < len(losses) else 0)


def test_an_accuracy_whose_loss_is_not_finite_is_never_best():
    stopping = EarlyStopping("val_accuracy", patience=1, restore_best=True)
    trainer, (x, y) = trainer_of(stopping), data_of()
    trainer.fit((x, y), 5, (np.full_like(x, np.nan), np.zeros_like(y)))  # all in the first class, as NaN is
    assert trainer.history.history["val_accuracy"] == [1.0] * 2
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (None, 0, 2)


@pytest.mark.parametrize("losses", [[3, 2, 1, 1.5, 1.4, 1.3], [3, 1, 2]])
def test_the_best_weights_come_back(losses):
    """After an early end, and after one that came by itself."""
    _, trainer, weights = run(losses, patience=2, restore_best=True)
    best = losses.index(1)
    np.testing.assert_array_equal(trainer.model.parameters()[0].data, weights[best])
    assert not np.array_equal(weights[best], weights[-1])
    _, plain, weights = run(losses, patience=2)
    np.testing.assert_array_equal(plain.model.parameters()[0].data, weights[-1])


class _Rebuilds(Callback):
    """Builds the model with another head after the first epoch."""

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == 1:
            trainer.model.layers = (*trainer.model.layers[:-1], nn.Dense(5))
            trainer.model.build((4,), seed=3)
            trainer.optimizer = fc.optim.SGD(trainer.model.parameters(), 0.1)


def test_the_best_weights_of_other_layers_do_not_come_back():
    """They ended the training in an error of NumPy's."""

    class Growing(nn.Sequential):
        """One whose layers change."""

    model = Growing(nn.Dense(6), nn.ReLU(), nn.Dense(3)).build((4,), seed=0)
    stopping = EarlyStopping(patience=9, restore_best=True)
    optimizer = fc.optim.SGD(model.parameters(), 0.1)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=[stopping, _Rebuilds()])
    scripted(trainer, [0.1, 0.5, 0.9])
    trainer.fit(data_of(), 3, data_of())
    assert (stopping.best, stopping.best_epoch) == (0.5, 2)
    assert model.layers[-1].weight.shape == (6, 5)


def test_an_interrupted_run_keeps_its_newest_weights():
    class Stop(Callback):
        def on_epoch_end(self, trainer, logs):
            if trainer.epoch == 3:
                raise KeyboardInterrupt

    stopping = EarlyStopping(patience=9, restore_best=True)
    trainer = trainer_of(stopping, Stop())
    scripted(trainer, [1, 2, 3, 4])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data_of(), 4, data_of(seed=1), batch_size=5)
    newest = np.array(trainer.model.parameters()[0].data)
    assert not np.array_equal(newest, stopping.state_dict()["weights"][trainer.model.parameters()[0].name])


def test_each_fit_begins_anew():
    stopping, trainer, _ = run([1, 2, 3, 4], patience=2)
    scripted(trainer, [5, 4.5, 4, 3.5])
    trainer.fit(data_of(), 4, data_of(seed=1), batch_size=5)
    assert (trainer.epoch, stopping.best, stopping.stopped_epoch) == (7, 3.5, 0)


def test_a_fit_that_is_refused_before_it_begins_leaves_the_weights():
    class Refuse(Callback):
        def on_train_begin(self, trainer):
            raise InterruptedError

    stopping, trainer, _ = run([3, 1, 2, 3], patience=1, restore_best=True)
    parameter = trainer.model.parameters()[0]
    parameter.data = np.ones(parameter.shape, np.float32)
    trainer.callbacks = [Refuse(), stopping]
    with pytest.raises(InterruptedError):
        trainer.fit(data_of(), 1, data_of())
    np.testing.assert_array_equal(parameter.data, 1)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_resumed_run_ends_as_the_undisturbed_one(tmp_path, cut):
    losses = [3, 1, 2, 1.5, 1.2, 1.1, 0.1]
    want, whole, _ = run(losses, patience=3, restore_best=True)
    first = EarlyStopping(patience=3, restore_best=True)
    trainer = trainer_of(first)
    trainer.callbacks = (first, _SaveAt(cut, tmp_path / "state"))
    scripted(trainer, losses)
    with pytest.raises(InterruptedError):
        trainer.fit(data_of(), 7, data_of(seed=1), batch_size=5)
    state = first.state_dict()
    again = EarlyStopping(patience=3, restore_best=True)
    resumed = trainer_of(again)
    resumed.restore(tmp_path / "state")
    if not again.best_epoch:  # where restoring a trainer does not restore its callbacks
        again.load_state_dict(state)
    scripted(resumed, losses[cut:])
    resumed.fit(data_of(), 7 - cut, data_of(seed=1), batch_size=5)
    assert resumed.epoch == whole.epoch == 5
    assert (again.best, again.best_epoch, again.wait) == (want.best, want.best_epoch, want.wait) == (1, 2, 3)
    for got, wanted in zip(resumed.model.tensors(), whole.model.tensors(), strict=True):
        np.testing.assert_array_equal(got.data, wanted.data)


class _SaveAt(Callback):
    def __init__(self, epoch, path):
        self.epoch, self.path = epoch, path

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == self.epoch:
            trainer.save(self.path)
            raise InterruptedError


def test_the_direction_is_that_of_the_metric():
    trainer = trainer_of(metrics=[F1(), MeanAbsoluteError()])
    assert score(trainer, "val_f1", 0.3) == 0.3
    assert score(trainer, "f1_2", 0.3) == 0.3
    assert score(trainer, "val_mean_absolute_error", 0.3) == -0.3
    assert score(trainer, "loss", 0.3) == -0.3
    assert score(trainer, "val_accuracy", 0.3) == 0.3
    assert score(trainer, "loss", 0.3, "max") == 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": -1}, "patience: got -1; allowed: .* at least 0"),
        ({"patience": 1.5}, "patience: got 1.5"),
        ({"min_delta": -0.1}, "min_delta: got -0.1; allowed: a finite number at least 0"),
        ({"min_delta": "x"}, "min_delta: got 'x'"),
        ({"baseline": np.nan}, "baseline: got nan"),
        ({"mode": "maximum"}, r"mode: got 'maximum'; allowed: 'auto', 'min', 'max' \(nearest: 'max'\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        EarlyStopping(**settings)


def test_a_quantity_that_nothing_measures_is_refused_before_the_first_step():
    trainer = trainer_of(EarlyStopping("val_los"))
    with pytest.raises(ArgumentError, match=r"^monitor: got 'val_los'; .*\(nearest: 'val_loss'\)"):
        trainer.fit(data_of(), 1, data_of())
    trainer.callbacks = EarlyStopping()
    with pytest.raises(ArgumentError, match=r"^monitor: got 'val_loss'; .*\(nearest: 'loss'\)"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


def test_a_state_of_another_kind_is_refused_whole():
    stopping, _, _ = run([3, 2, 1], patience=2)
    before = stopping.state_dict()
    with pytest.raises(CheckpointError, match=r"state: got 'best', 'wait' for EarlyStopping; allowed: .*'best_epoch'"):
        stopping.load_state_dict({"best": 1.0, "wait": 2})
    assert stopping.state_dict() == before
    with pytest.raises(CheckpointError, match="kept no weights"):
        EarlyStopping(restore_best=True).load_state_dict(before)
    with pytest.raises(CheckpointError, match=r"state: got 'epoch' for Callback; allowed: .*nothing"):
        Callback().load_state_dict({"epoch": 1})
    with pytest.raises(CheckpointError, match=r"state: got NoneType for EarlyStopping; allowed: .*'best_epoch'"):
        stopping.load_state_dict(None)
    for wrong in ({"best": "low"}, {"best_epoch": None}, {"wait": 1.5}, {"stopped_epoch": [0]}, {"weights": "w"}):
        with pytest.raises(CheckpointError, match=rf"state: got .* as '{next(iter(wrong))}' of EarlyStopping; allowed"):
            stopping.load_state_dict({**before, **wrong})
    assert stopping.state_dict() == before


@pytest.mark.parametrize("monitor", [None, 0, ["loss"], str])
def test_what_is_watched_is_a_name(monitor):
    with pytest.raises(ArgumentError, match=r"^monitor: got .*; allowed: a name of the history, as 'val_loss'$"):
        EarlyStopping(monitor)
