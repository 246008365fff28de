"""What is printed to a terminal and to a log."""

import io
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.training import ProgressDisplay
from fastconv.training.callbacks.progress import epoch_heading, epoch_line, more_lines


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


def test_metrics_that_were_asked_for_are_shown():
    logs = {"loss": 0.5, "f1": 0.25, "val_loss": 0.5, "val_f1": 0.125, "confusion": np.eye(3), "seconds": 1.0}
    logs |= {"images_per_second": 1.0, "learning_rate": 0.1, "sparsity": 0.5, "sparsity/0.weight": 0.5}
    assert more_lines(logs, 13) == ["f1 0.2500  val_f1 0.1250  sparsity 0.5000"]
    assert more_lines({"note": "text", "nothing": None, "more": {}, "f1": np.float32(0.5)}, 13) == ["f1 0.5000"]
    many = {f"metric_{i}": 1e30 for i in range(9)}
    lines = more_lines(many, 13)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80 - 13
    assert " ".join(lines).split()[::2] == list(many)


def test_a_run_shows_its_metrics(capsys):
    with fc.use_backend("numpy"):
        model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,), seed=0)
        data = np.ones((4, 3), np.float32), np.zeros(4, np.int32)
        optimizer = fc.optim.SGD(model.parameters(), 0.1)
        shown = ProgressDisplay(io.StringIO())
        trainer = fc.Trainer(
            model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=shown, metrics=fc.metrics.F1()
        )
        trainer.fit(data, 2, data)
        lines = shown._stream.getvalue().splitlines()
        assert len(lines) == 5
        assert re.fullmatch(r" +f1 [01]\.\d{4}  val_f1 [01]\.\d{4}", lines[2])


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


@pytest.mark.parametrize("name", ["stream", "bar"])
@pytest.mark.parametrize("stream", ["x", 1, io.BytesIO(), object()], ids=lambda each: type(each).__name__)
def test_what_takes_no_text_is_no_stream(name, stream):
    with pytest.raises(ArgumentError, match=rf"^{name}: got .*; allowed: a text stream"):
        ProgressDisplay(**{name: stream})
