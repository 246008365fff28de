"""Callbacks: what is printed to a terminal and to a log, and which files are written."""

import io
import os
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.training import Callback, ModelCheckpoint, ProgressDisplay
from fastconv.training.callbacks import epoch_heading, epoch_line


@pytest.fixture
def trainer_and_data(rng):
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(3)).build((4,))
        x, y = rng.standard_normal((10, 4)).astype(np.float32), rng.integers(0, 3, 10).astype(np.int32)

        def make(*callbacks):
            return fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1), callbacks=callbacks)

        yield make, (x, y)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_line_per_epoch_under_a_heading(trainer_and_data):
    make, data = trainer_and_data
    log = io.StringIO()
    make(ProgressDisplay(log)).fit(data, 2, data, batch_size=4)
    heading, *lines = log.getvalue().splitlines()
    assert heading.split() == ["loss", "accuracy", "val_loss", "val_accuracy", "seconds", "images/s"]
    pattern = r"epoch ./2 +\d\.\d{4} +0\.\d{4} +\d\.\d{4} +0\.\d{4} +\d+\.\d +[\d,]+"
    assert all(re.fullmatch(pattern, line) for line in lines), lines
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert [len(line) for line in lines] == [len(heading)] * 2
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize("loss", [0.1, 987.6, 1e30, float("nan")])
def test_lines_fit_80_columns_in_their_columns(loss):
    logs = {"loss": loss, "accuracy": 1.0, "val_loss": loss, "val_accuracy": 0.0, "seconds": 12345.6}
    logs["images_per_second"] = 123456.0
    line = epoch_line(7, 1000, logs)
    heading = epoch_heading(1000, logs)
    assert len(line) == len(heading) <= 80
    for name in ("loss", "val_accuracy", "images/s"):  # flush right
        end = heading.index(name) + len(name)
        assert line[end - 1] != " "
        assert line[end : end + 1] in ("", " ")


def test_a_terminal_gets_a_bar_and_the_lines(trainer_and_data, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    make, data = trainer_and_data
    terminal = Terminal()
    make(ProgressDisplay(terminal)).fit(data, 2, batch_size=4)
    assert "\x1b[" in terminal.getvalue()
    for text in ("epoch 1/2", "epoch 2/2", "0/3", "images/s"):
        assert text in terminal.getvalue()


def test_the_default_stream_is_stderr(trainer_and_data, capsys):
    make, data = trainer_and_data
    make(ProgressDisplay()).fit(data, 1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1].startswith("epoch 1/1  ")
    assert len(err.splitlines()) == 2


def test_lines_and_bar_can_go_apart(trainer_and_data, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    make, data = trainer_and_data
    log, terminal = io.StringIO(), Terminal()
    make(ProgressDisplay(log, bar=terminal)).fit(data, 2, batch_size=4)
    assert len(log.getvalue().splitlines()) == 3
    assert "0/3" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert not re.search(r"epoch 2/2 +\d\.", terminal.getvalue())


def test_callbacks_see_every_step(trainer_and_data):
    make, data = trainer_and_data
    seen = []

    class Watch(Callback):
        def on_train_begin(self, trainer):
            seen.append("begin")

        def on_step_end(self, trainer, info):
            seen.append((info.batch, info.batches, info.images, np.isfinite(float(info.loss))))

        def on_epoch_end(self, trainer, logs):
            seen.append(sorted(logs))
            trainer.stop = trainer.epoch == 1

        def on_train_end(self, trainer):
            seen.append("end")

    make(Watch()).fit(data, 5, batch_size=4)
    logs = ["accuracy", "images_per_second", "learning_rate", "loss", "seconds"]
    assert seen == ["begin", (1, 3, 4, True), (2, 3, 4, True), (3, 3, 2, True), logs, "end"]


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


@pytest.mark.parametrize("name", ["on_epoch_begin", "on_batch_end", "on_train_batch_end", "on_stepend"])
def test_a_method_that_nobody_calls_is_refused(trainer_and_data, name):
    make, _ = trainer_and_data
    made = type("Mine", (Callback,), {name: lambda self, *_: None, "on_step_end": lambda self, *_: None})()
    with pytest.raises(ArgumentError, match=f"callbacks: got Mine with {name}, which nobody calls; .*on_step_end"):
        make(made)
