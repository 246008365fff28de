"""Which files a `ModelCheckpoint` writes, and when."""

import os
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError, OutputError
from fastconv.training import EarlyStopping, ModelCheckpoint, TimeLimit

from .runs import data_of, go_on, scripted, trainer_of

_STEP = "step-00000002.safetensors"


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


def test_one_training_at_a_time_writes_there(trainer_and_data, tmp_path):
    make, data = trainer_and_data

    class Second(fc.training.Callback):
        def on_epoch_end(self, trainer, logs):
            copied = pickle.loads(pickle.dumps(first))
            for checkpoint in (copied, ModelCheckpoint(tmp_path)):
                with pytest.raises(ArgumentError, match=r"directory: got .*, where another training is running"):
                    make(checkpoint).fit(data, 1)

    first = ModelCheckpoint(tmp_path)
    trainer = make(first)
    trainer.callbacks = (first, Second())
    trainer.fit(data, 1)
    make(ModelCheckpoint(tmp_path)).fit(data, 1)


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


def test_what_was_best_stays_so_where_validation_comes_later(numpy_backend, tmp_path):
    """Its losses were taken for those of the epochs before, which there were none of."""
    checkpoint, data = ModelCheckpoint(tmp_path, monitor="accuracy"), data_of()
    trainer = trainer_of(checkpoint, lr=0.0)
    trainer.fit(data, 1)
    checkpoint.best_path.unlink()
    trainer.fit(data, 1, data)  # neither better nor worse
    assert not checkpoint.best_path.exists()


@pytest.fixture
def numpy_backend():
    with fc.use_backend("numpy"):
        yield


def states(directory):
    return sorted(path.name for path in directory.glob("step-*"))


def test_the_newest_states_are_kept(numpy_backend, tmp_path):
    checkpoint = ModelCheckpoint(tmp_path, keep=2, save_every_steps=3)
    trainer = trainer_of(checkpoint)
    trainer.fit(data_of(), 2, batch_size=2)  # ten steps
    assert states(tmp_path) == ["step-00000009.safetensors", "step-00000010.safetensors"]
    assert [path.name for path in checkpoint.kept_paths] == states(tmp_path)
    assert checkpoint.last_path.read_bytes() == (tmp_path / "step-00000010.safetensors").read_bytes()
    other = trainer_of()
    other.restore(tmp_path / "step-00000010.safetensors")
    assert (other.step, other.epoch) == (10, 2)


def test_the_best_states_are_kept(numpy_backend, tmp_path):
    trainer = trainer_of(ModelCheckpoint(tmp_path, monitor="val_loss", keep=2, keep_by="best"))
    scripted(trainer, [3, 1, 2, np.nan, 4, 1.5])
    trainer.fit(data_of(), 6, data_of(seed=1))
    assert states(tmp_path) == ["step-00000002.safetensors", "step-00000006.safetensors"]


def test_states_are_written_every_so_many_epochs_and_at_the_end(numpy_backend, tmp_path):
    trainer = trainer_of(ModelCheckpoint(tmp_path, every_epochs=2, keep=9))
    trainer.fit(data_of(), 5)
    assert states(tmp_path) == [f"step-{step:08d}.safetensors" for step in (2, 4, 5)]


def test_files_of_others_stay(numpy_backend, tmp_path):
    foreign = tmp_path / "step-00000099.safetensors"
    foreign.write_text("mine")
    trainer_of(ModelCheckpoint(tmp_path, keep=1)).fit(data_of(), 3)
    assert states(tmp_path) == ["step-00000003.safetensors", foreign.name]
    assert foreign.read_text() == "mine"


def test_one_that_keeps_none_takes_none_away(numpy_backend, tmp_path):
    first, again = ModelCheckpoint(tmp_path, keep=2), ModelCheckpoint(tmp_path)
    trainer_of(first).fit(data_of(), 2)
    resumed = trainer_of(again)
    go_on(resumed, first.last_path, [(again, first.state_dict())])
    resumed.fit(data_of(), 1)
    assert states(tmp_path) == ["step-00000001.safetensors", "step-00000002.safetensors"]


def test_a_resumed_run_keeps_the_files_of_the_undisturbed_one(numpy_backend, tmp_path):
    def make(name):
        return ModelCheckpoint(tmp_path / name, monitor="val_loss", keep=2, keep_by="best")

    losses = [3, 1, 2, 1.5]
    whole = trainer_of(make("whole"))
    scripted(whole, losses)
    whole.fit(data_of(), 4, data_of(seed=1))
    first = make("cut")
    trainer = trainer_of(first)
    scripted(trainer, losses)
    trainer.fit(data_of(), 2, data_of(seed=1))
    again = make("cut")
    resumed = trainer_of(again)
    go_on(resumed, first.last_path, [(again, first.state_dict())])
    scripted(resumed, losses[2:])
    resumed.fit(data_of(), 2, data_of(seed=1))
    assert states(tmp_path / "cut") == states(tmp_path / "whole") == [f"step-{n:08d}.safetensors" for n in (2, 4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0}, "keep: got 0; allowed: .* at least 1"),
        ({"every_epochs": 0}, "every_epochs: got 0"),
        ({"save_every_steps": -1}, "save_every_steps: got -1"),
        ({"keep_by": "latest"}, "keep_by: got 'latest'; allowed: 'newest', 'best' .*nearest: 'best'"),
        ({"keep": 1, "keep_by": "best", "save_every_steps": 5}, "keep_by: got 'best' with save_every_steps"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, message):
    with pytest.raises(ArgumentError, match=message):
        ModelCheckpoint(tmp_path, **settings)


def test_a_directory_that_cannot_be_written_is_found_before_the_first_step(numpy_backend, tmp_path):
    (tmp_path / "file").write_text("mine")
    trainer = trainer_of(ModelCheckpoint(tmp_path / "file" / "run"))
    with pytest.raises(OutputError, match=r"^directory: got '.*file/run', which .* \(Not a directory"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_loses_nothing(numpy_backend, tmp_path, monkeypatch):
    checkpoint = ModelCheckpoint(tmp_path, keep=2)
    trainer = trainer_of(checkpoint)
    trainer.fit(data_of(), 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"could not be written \(No space left on device\)"):
        trainer.fit(data_of(), 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    trainer.callbacks = [checkpoint, TimeLimit(1e-9)]  # one epoch
    trainer.fit(data_of(), 2)
    assert states(tmp_path) == ["step-00000002.safetensors", "step-00000004.safetensors"]


def test_two_that_write_the_same_files_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"callbacks: got ModelCheckpoint.* both write '.*last.safetensors'"):
        trainer_of(ModelCheckpoint(tmp_path), ModelCheckpoint(tmp_path / "x" / ".."))


def test_those_that_save_come_last(tmp_path):
    """So that the state of the others, which they write, counts the epoch."""
    checkpoint, stopping = ModelCheckpoint(tmp_path), EarlyStopping()
    assert trainer_of(checkpoint, stopping).callbacks == (stopping, checkpoint)


@pytest.mark.parametrize("place", ["", "a\0b", b"folder", None])
def test_what_is_no_path_is_refused_at_once(place):
    with pytest.raises(ArgumentError, match=r"directory: got .*; allowed: a path"):
        ModelCheckpoint(place)


@pytest.mark.parametrize(
    "wrong",
    [3, [_STEP], {f"../{_STEP}": 1.0}, {f"/{_STEP}": None}, {_STEP: "best"}, {"": 1.0}, {"best.safetensors": 1.0}],
    ids=str,
)
def test_a_state_names_files_of_its_folder_only(tmp_path, wrong):
    """The surplus ones of them are deleted."""
    callback = ModelCheckpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"^state: got .*kept.*; allowed: "):
        callback.load_state_dict({"kept": wrong})
    assert callback.state_dict() == {"kept": {}}


@pytest.mark.parametrize("name", ["best.safetensors", "runs/w.{epoch:02d}-{val_loss:.2f}.keras", "m-{epoch}", "x.pt"])
def test_a_name_of_files_is_told_from_that_of_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"^directory: got '.*', a name of files; allowed: that of a folder, in"):
        ModelCheckpoint(name)
    (tmp_path / name).mkdir(parents=True)
    assert ModelCheckpoint(name).last_path.name == "last.safetensors"
