"""Which folders are runs, and how far these are."""

import json

import pytest

from fastconv.errors import ArgumentError, CheckpointError
from fastconv.report.runs import MOST, key_figures, read_runs
from fastconv.training.history import History
from fastconv.training.run_folder import owned

from .made import LOSSES, TABLES, make_run


def test_a_run_is_told_by_its_folder(run):
    (found,) = read_runs([run.directory])
    assert (found.name, found.path, found.status) == ("first", str(run.directory), "complete")
    assert found.history == LOSSES
    assert found.environment["backend"] == "numpy"
    assert found.recipe.tables["model"]["name"] == "lenet5"


def test_how_far_it_is(tmp_path):
    short = History({"loss": [2.0, 1.0]})
    folder = make_run(tmp_path / "run", short)
    assert read_runs([folder.directory])[0].status == "ended after 2 of 3 epochs"
    with owned(folder):
        assert read_runs([folder.directory])[0].status == "still running: 2 of 3 epochs are over"
    assert not read_runs([folder.directory])[0].running
    once = {"run": TABLES["run"] | {"epochs": 1}}
    folder = make_run(tmp_path / "once", History(), **once)
    assert read_runs([folder.directory])[0].status == "ended after 0 of 1 epoch"
    with owned(folder):
        assert read_runs([folder.directory])[0].status == "still running: 0 of 1 epoch is over"


@pytest.mark.parametrize(("losses", "best"), [([2.0, float("nan")], "25.00% (epoch 1)"), ([float("nan")] * 2, None)])
def test_an_accuracy_whose_loss_is_not_finite_is_never_best(tmp_path, losses, best):
    history = History({"loss": [2.0, 1.0], "val_loss": losses, "val_accuracy": [0.25, 0.5]})
    (run,) = read_runs([make_run(tmp_path / "run", history).directory])
    assert key_figures(run).get("best accuracy") == best


def test_weights_that_the_log_tells_of_are_missed(tmp_path):
    whole, none = make_run(tmp_path / "whole"), make_run(tmp_path / "none", History(), weights=False)
    half = make_run(tmp_path / "half", History({"loss": [1.0]}), weights=False)
    folder = make_run(tmp_path / "folder", weights=False)
    folder.weights.mkdir()
    words = "but there is no file weights.safetensors with the weights after the last one"
    assert [run.missing for run in read_runs([each.directory for each in (whole, none, half, folder)])] == [
        *("", ""),
        f"half written: its log has 1 epoch, {words}",
        f"half written: its log has 3 epochs, {words}",
    ]


def test_runs_of_one_name_are_told_apart(tmp_path, monkeypatch):
    make_run(tmp_path / "a" / "run")
    make_run(tmp_path / "b" / "run")
    monkeypatch.chdir(tmp_path)
    assert [run.name for run in read_runs(["a/run", "b/run"])] == ["a/run", "b/run"]
    monkeypatch.chdir(tmp_path / "a" / "run")
    assert [run.name for run in read_runs(["."])] == ["run"]


def test_there_must_be_runs_each_once_and_not_too_many(run, tmp_path):
    with pytest.raises(ArgumentError, match="runs: got none; allowed: 1 to 7 folders of runs"):
        read_runs([])
    with pytest.raises(ArgumentError, match="runs: got 8; allowed: 1 to 7"):
        read_runs([run.directory] * (MOST + 1))
    (tmp_path / "link").symlink_to(run.directory)
    with pytest.raises(ArgumentError, match="more than once; allowed: each run once"):
        read_runs([run.directory, tmp_path / "link"])


def damage(folder, how):
    lines = folder.log.read_text().splitlines()
    {
        "no folder": lambda: folder.directory.rename(folder.directory.with_name("elsewhere")),
        "no run": lambda: [path.unlink() for path in folder.directory.iterdir()],
        "no recipe": folder.recipe_file.unlink,
        "no log": folder.log.unlink,
        "no environment": folder.environment_file.unlink,
        "half a line": lambda: folder.log.write_text("\n".join(lines)[:-9]),
        "another version": lambda: folder.log.write_text(json.dumps({"format": 99}) + "\n"),
        "another environment": lambda: folder.environment_file.write_text('{"format": 99}'),
        "no batch": lambda: folder.recipe_file.write_text(
            folder.recipe_file.read_text().replace("batch_size = 4", "batch_size = 0")
        ),
        "another recipe": lambda: folder.recipe_file.write_text("format = 99\n"),
        "no text": lambda: folder.log.write_bytes(b"\xff\xfe\xff"),
    }[how]()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no folder", "which is no folder; allowed: the folder of a run"),
        ("no run", "without run.toml; allowed: the folder of a run"),
        ("no recipe", "or of an older version, without run.toml"),
        ("no log", r"log.jsonl' \(No such file or directory\); allowed: the log of a run"),
        ("no environment", r"environment.json' \(No such file or directory\)"),
        ("half a line", "whose line 4 is no entry; allowed: the log of a run"),
        ("another version", "of the form 99; allowed: 1, that of this version"),
        ("another environment", "environment.json', of the form 99; allowed: 1, that of this version"),
        ("no batch", "whose run.toml cannot be taken; loader: batch_size: got 0; allowed: an int of at least 1"),
        ("another recipe", "whose run.toml cannot be taken"),
        ("no text", r"\(no text\); allowed: the log of a run"),
    ],
)
def test_what_is_no_whole_run_is_one_clear_message(run, how, words):
    damage(run, how)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_runs([run.directory])
    assert "\n" not in str(caught.value)
