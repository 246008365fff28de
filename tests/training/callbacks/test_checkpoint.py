"""Which files a `ModelCheckpoint` writes, and when."""

import os

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.training import ModelCheckpoint


def test_checkpoints(trainer_and_data, tmp_path):
    make, data = trainer_and_data
    directory = tmp_path / "new" / "run"
    best = ModelCheckpoint(directory)
    trainer = make(best)
    trainer.fit(data, 1, data)
    assert sorted(os.listdir(directory)) == ["best.safetensors", "last.safetensors"]
    kept = best.best_path.read_bytes()
    trainer.optimizer.lr = 1e-6
    before = np.array(trainer.model.parameters()[0].data)
    trainer.fit(data, 1, data)  # as good as before, not better, with other weights
    assert len(set(trainer.history.history["val_accuracy"])) == 1
    assert not np.array_equal(trainer.model.parameters()[0].data, before)
    assert best.best_path.read_bytes() == kept
    again = make(ModelCheckpoint(directory))
    again.restore(best.last_path)
    assert (again.epoch, again.history.epochs) == (2, 2)
    again.model.parameters()[0].data = -50 * again.model.parameters()[0].data
    again.fit(data, 1, data)  # worse than what is in the history that was taken over
    assert best.best_path.read_bytes() == kept


def test_checkpoints_of_a_chosen_quantity(trainer_and_data, tmp_path):
    make, data = trainer_and_data
    trainer = make(ModelCheckpoint(tmp_path, monitor="loss"))
    written = []
    trainer.model.save_weights = lambda path: written.append(trainer.history.history["loss"][-1])
    trainer.fit(data, 3)
    assert written == sorted(written, reverse=True)
    assert len(written) == 3


@pytest.mark.parametrize(
    ("monitor", "validate", "nearest"),
    [
        ("val_acc", True, "val_accuracy"),
        ("acc", False, "accuracy"),
        ("validation_loss", True, "val_loss"),
        ("val_loss", False, "loss"),
        ("Loss", True, "loss"),
    ],
)
def test_a_quantity_that_never_comes_is_refused_before_the_first_step(
    trainer_and_data, tmp_path, monitor, validate, nearest
):
    make, data = trainer_and_data
    trainer = make(ModelCheckpoint(tmp_path / "run", monitor=monitor))
    with pytest.raises(ArgumentError, match=f"^monitor: got '{monitor}'; allowed: .*nearest: '{nearest}'"):
        trainer.fit(data, 1, data if validate else None)
    assert trainer.step == 0
    assert not (tmp_path / "run").exists()


def test_a_quantity_that_did_not_come_is_refused_after_the_epoch(trainer_and_data, tmp_path):
    """Without class numbers there is no accuracy, which the first batch tells."""
    make, (x, y) = trainer_and_data
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_accuracy")
    trainer = make(checkpoint)
    trainer.loss = lambda predictions, targets: (0.5, 0 * predictions)
    with pytest.raises(ArgumentError, match=r"monitor: got 'val_accuracy'; allowed: .*nearest: 'val_loss'"):
        trainer.fit((x, y.astype(np.float32)), 3, (x, y.astype(np.float32)))
    assert os.listdir(tmp_path) == ["last.safetensors"]
    assert trainer.epoch == 1


def test_what_is_not_finite_is_never_best(trainer_and_data, tmp_path):
    make, (x, y) = trainer_and_data
    trainer = make(ModelCheckpoint(tmp_path, monitor="val_loss"))
    losses = iter([0.3, np.nan, 0.2, np.inf, 0.1, -np.inf, 0.1, 0.4, 0.1, 0.2])  # of training, of validation, in turn
    trainer.loss = lambda predictions, targets: (next(losses), 0 * predictions)
    written = []
    trainer.model.save_weights = lambda path: written.append(trainer.epoch)
    trainer.fit((x, y), 5, (x, y))
    assert written == [4, 5]
    np.testing.assert_equal(trainer.history.history["val_loss"], np.float32([np.nan, np.inf, -np.inf, 0.4, 0.2]))


def test_an_accuracy_is_never_best_where_the_loss_is_not_finite(trainer_and_data, tmp_path):
    make, (x, y) = trainer_and_data
    callback = ModelCheckpoint(tmp_path)
    trainer = make(callback)
    trainer.fit((x, y), 1, (np.full_like(x, np.nan), np.zeros_like(y)))  # all in the first class, as NaN is
    assert trainer.history.history["val_accuracy"] == [1.0]
    assert not callback.best_path.exists()
    trainer.fit((x, y), 1, (x, y))
    assert callback.best_path.exists()
