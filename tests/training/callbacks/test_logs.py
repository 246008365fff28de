"""Logs in files: what is in them, also after a training was taken up again."""

import csv
import json
import math

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, OutputError
from fastconv.training import Callback, CSVLogger, JSONLinesLogger
from fastconv.training.callbacks import logs

from .runs import data_of, trainer_of

TIMES = ("seconds", "images_per_second")


@pytest.fixture(autouse=True)
def _numpy():
    with fc.use_backend("numpy"):
        yield


class Break(Callback):
    """Ends the training with an exception after a step, having saved its state after an epoch."""

    def __init__(self, path, epoch, step):
        self.path, self.epoch, self.step = path, epoch, step

    def on_step_end(self, trainer, info):
        if trainer.step == self.step:
            raise InterruptedError

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == self.epoch:
            trainer.save(self.path)


def test_a_file_of_comma_separated_values(tmp_path):
    trainer = trainer_of(CSVLogger(tmp_path / "new" / "log.csv"))
    trainer.fit(data_of(), 3, data_of(seed=1), batch_size=5)
    with open(tmp_path / "new" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", *trainer.quantities]
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4"), ("3", "6")]
    for name in trainer.quantities:
        assert [float(row[name]) for row in rows] == trainer.history.history[name]  # to the last bit


def test_what_an_epoch_does_not_have_is_empty(tmp_path):
    trainer = trainer_of(CSVLogger(tmp_path / "log.csv"))
    trainer.loss = lambda predictions, targets: (0.5, 0 * predictions)
    x, y = data_of()
    trainer.fit((x, y.astype("float32")), 1)
    row = dict(zip(*csv.reader((tmp_path / "log.csv").read_text().splitlines()), strict=True))
    assert (row["loss"], row["accuracy"]) == ("0.5", "")


def test_lines_of_json(tmp_path):
    trainer = trainer_of(JSONLinesLogger(tmp_path / "log.jsonl", every_steps=2))
    trainer.fit(data_of(), 2, batch_size=4)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    events = [(line["event"], line["epoch"], line["step"]) for line in lines]
    assert events == [("step", 1, 2), ("epoch", 1, 3), ("step", 2, 4), ("step", 2, 6), ("epoch", 2, 6)]
    assert [line["loss"] for line in lines if line["event"] == "epoch"] == trainer.history.history["loss"]
    assert all(line["learning_rate"] == 0.1 for line in lines)


def test_what_is_not_finite_is_null_in_json(tmp_path):
    logger = JSONLinesLogger(tmp_path / "log.jsonl")
    logger.on_epoch_end(trainer_of(), {"loss": math.nan, "val_loss": -math.inf})
    assert json.loads(logger.path.read_text()) == {
        "event": "epoch",
        "epoch": 0,
        "step": 0,
        "loss": None,
        "val_loss": None,
    }


@pytest.mark.parametrize("make", [CSVLogger, lambda path: JSONLinesLogger(path, every_steps=1)])
def test_a_resumed_run_has_the_lines_of_the_undisturbed_one(tmp_path, make):
    def values(name):
        text = (tmp_path / name).read_text()
        if text.startswith("{"):
            return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in text.splitlines()]
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(text.splitlines())]

    trainer_of(make(tmp_path / "whole")).fit(data_of(), 4, batch_size=4)
    trainer = trainer_of(make(tmp_path / "cut"), Break(tmp_path / "state", 1, 8))
    with pytest.raises(InterruptedError):
        trainer.fit(data_of(), 4, batch_size=4)
    with open(tmp_path / "cut", "ab") as file:
        file.write(b'{"event": "ep')  # as where it was killed
    again = trainer_of(make(tmp_path / "cut"))
    again.restore(tmp_path / "state")
    again.fit(data_of(), 3, batch_size=4)
    assert values("cut") == values("whole")


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_files_of_others_are_refused(tmp_path, logger):
    (tmp_path / "log").write_text("my notes\n")
    trainer = trainer_of(logger(tmp_path / "log"))
    with pytest.raises(ArgumentError, match=f"path: got '.*log', a file that {logger.__name__} did not write"):
        trainer.fit(data_of(), 1)
    assert (tmp_path / "log").read_text() == "my notes\n"
    trainer.callbacks = logger(tmp_path)
    with pytest.raises(ArgumentError, match="a directory; allowed: a file"):
        trainer.fit(data_of(), 1)
    trainer.callbacks = logger(tmp_path / "log" / "log")
    with pytest.raises(OutputError, match=r"path: got .*could not be written"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


def test_a_new_run_replaces_the_log_of_an_old_one(tmp_path):
    for _ in range(2):
        trainer_of(CSVLogger(tmp_path / "log")).fit(data_of(), 2)
    assert len((tmp_path / "log").read_text().splitlines()) == 3


def test_a_resumed_run_with_other_columns_is_refused(tmp_path):
    trainer = trainer_of(CSVLogger(tmp_path / "log"))
    trainer.fit(data_of(), 1)
    before = (tmp_path / "log").read_text()
    with pytest.raises(
        ArgumentError, match=r"with the columns epoch,step,loss.*; allowed: those of this training, .*val_"
    ):
        trainer.fit(data_of(), 1, data_of())
    assert (tmp_path / "log").read_text() == before


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_two_loggers_of_one_file_are_refused(tmp_path, logger):
    with pytest.raises(ArgumentError, match=f"callbacks: got CSVLogger.* and {logger.__name__}.* both write '.*log'"):
        trainer_of(CSVLogger(tmp_path / "log"), logger(tmp_path / "log"))


def test_a_full_disk_loses_no_line(tmp_path, monkeypatch):
    trainer = trainer_of(CSVLogger(tmp_path / "log"))
    trainer.fit(data_of(), 2)
    before = (tmp_path / "log").read_text()
    limit = len(before) + 5

    class Full:
        """A file of a disk with room for five bytes."""

        def __init__(self, *arguments):
            self.file = open(*arguments)  # noqa: SIM115 - who opened this closes it

        def write(self, data):
            self.file.write(data[: limit - self.file.tell()])
            self.file.flush()
            raise OSError(28, "No space left on device")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr("fastconv.training.callbacks.writing.open", Full, raising=False)
    with pytest.raises(OutputError, match=r"path: got .* could not be written \(No space left on device\)"):
        trainer.fit(data_of(), 1)
    assert (tmp_path / "log").read_text() == before


def test_zero_steps_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="every_steps: got 0"):
        JSONLinesLogger(tmp_path / "log", every_steps=0)


@pytest.mark.parametrize("cls", [CSVLogger, JSONLinesLogger])
@pytest.mark.parametrize("place", ["", "a\0b", b"log", None, 3])
def test_what_is_no_path_is_refused_at_once(cls, place):
    with pytest.raises(ArgumentError, match=r"path: got .*; allowed: a path"):
        cls(place)


@pytest.mark.parametrize("cls", [CSVLogger, JSONLinesLogger])
@pytest.mark.parametrize(("place", "why"), [("x" * 300, "File name too long"), ("loop", "symbolic links")])
def test_a_place_where_no_file_can_be_is_told_before_the_first_step(tmp_path, cls, place, why):
    (tmp_path / "loop").symlink_to("loop")
    trainer = trainer_of(cls(tmp_path / place))
    with pytest.raises(OutputError, match=rf"^path: got .*{place}.*{why}"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


@pytest.mark.parametrize("cls", [CSVLogger, JSONLinesLogger])
def test_devices_are_neither_read_nor_written(cls):
    """/dev/zero has no end to read to."""
    with pytest.raises(OutputError, match=r"path: got '/dev/zero'.*a device or a pipe"):
        trainer_of(cls("/dev/zero")).fit(data_of(), 1)


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_lines_of_two_trainings_do_not_mix(tmp_path, logger):
    first, second = (trainer_of(logger(tmp_path / "log")) for _ in range(2))
    first.fit(data_of(), 1)
    second.fit(data_of(), 2)  # a new one replaces the file
    kept = (tmp_path / "log").read_bytes()
    with pytest.raises(ArgumentError, match=r"path: got .*which another training wrote anew; allowed: a file of"):
        first.fit(data_of(), 1)
    assert (tmp_path / "log").read_bytes() == kept
    second.fit(data_of(), 1)
    assert (tmp_path / "log").read_bytes().startswith(kept)


def test_a_line_behind_those_of_another_training_is_refused(tmp_path):
    class Meanwhile(Callback):
        def on_step_begin(self, trainer, x, y):
            if trainer.step == 0:
                trainer_of(CSVLogger(tmp_path / "log")).fit(data_of(), 1)

    with pytest.raises(ArgumentError, match="another training wrote anew"):
        trainer_of(CSVLogger(tmp_path / "log"), Meanwhile()).fit(data_of(), 1)


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_an_interrupt_behind_a_line_does_not_end_a_log(tmp_path, logger, monkeypatch):
    trainer = trainer_of(logger(tmp_path / "log"))
    real = logs.append_line

    def interrupted(name, path, line):
        real(name, path, line)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(logs, "append_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(data_of(), 1)
    trainer.fit(data_of(), 1)
    assert (tmp_path / "log").read_text().count("\n") == trainer.epoch + (logger is CSVLogger)


def test_a_class_of_ones_own_may_write_more(tmp_path):
    class Remarks(CSVLogger):
        def on_epoch_end(self, trainer, logs):
            super().on_epoch_end(trainer, logs)
            with open(self.path, "a") as file:
                file.write("# a remark\n")

    trainer_of(Remarks(tmp_path / "log")).fit(data_of(), 2)
    assert (tmp_path / "log").read_text().count("# a remark") == 2
