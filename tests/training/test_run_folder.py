"""The folder of a run, read: what is damaged, missing or of another version is one clear error."""

import fcntl
import json
import os

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn.model.weights import write_tensors
from fastconv.training import ProgressDisplay, folder_lock
from fastconv.training.folder_lock import OwnedError
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder, owned
from fastconv.training.run_saver import RunSaver

from .test_recipe import WHOLE

TABLES = {**{key: WHOLE[key] for key in ("run", "model", "optimizer", "loss")}, "data": {"name": "shapes10"}}


@pytest.fixture
def folder(tmp_path):
    """The folder of a run of two epochs, written by the API alone."""
    recipe = Recipe.of(TABLES)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 32, 32, 3)).astype(np.float32), rng.integers(0, 3, 20).astype(np.int32)
    about = {"model": "lenet5", "dataset": "mine", "input_shape": (32, 32, 3), "class_names": ("a", "b", "c")}
    about |= {"mean": (0.0,) * 3, "std": (1.0,) * 3, "recipe": recipe.tables}
    files = RunFolder(tmp_path / "run")
    with fc.use_backend("numpy"), owned(files):
        saver = RunSaver(files, recipe, about, {"train": 20})
        trainer = recipe.make_trainer(recipe.make_model((32, 32, 3), 3), 4, (saver,))
        trainer.fit((x, y), 2, batch_size=5)
        predictions = trainer.model(x).copy()
    return files, trainer, x, predictions


def test_what_was_written_is_read(folder):
    files, trainer, x, predictions = folder
    opened = RunFolder.open(files.directory)
    assert opened.recipe == Recipe.of(TABLES)
    assert opened.read_history() == trainer.history
    header, entries = opened.read_log()
    assert header["format"] == 1
    assert header["versions"]["fastconv"] == fc.__version__
    assert len(entries) == 2
    environment = opened.read_environment()
    assert environment["data"] == {"train": 20}
    (session,) = environment["sessions"]
    assert {"versions", "system", "machine", "backend", "threads", "precision", "algorithm", "facts"} <= session.keys()
    with fc.use_backend("numpy"):
        np.testing.assert_array_equal(opened.load_model()(x), predictions)


def test_a_quantity_that_is_not_finite_is_null(folder):
    files, trainer, *_ = folder
    trainer.history.history["loss"][0] = float("nan")
    files.write_log(trainer.history)
    assert json.loads(files.log.read_text().splitlines()[1])["loss"] is None
    assert np.isnan(files.read_history().history["loss"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.recipe_file.unlink(), "a run that was broken off .* without run.toml"),
        (
            lambda files: files.recipe_file.write_text("format = 2\n"),
            "run.toml cannot be taken; format: got 2; allowed: 1",
        ),
        (lambda files: files.recipe_file.write_text("format = 1\n[oops]\n"), "got the table 'oops'"),
        (
            lambda files: files.recipe_file.write_text(""),
            "run.toml lacks data.name, loss.name, model.name, optimizer.name, run.dtype, run.epochs, run.seed; ",
        ),
        (lambda files: files.recipe_file.write_bytes(b"\xff\x00"), "got no TOML"),
        (lambda files: files.recipe_file.write_bytes(files.recipe_file.read_bytes()[:-30]), "run.toml cannot be taken"),
        (lambda files: [path.unlink() for path in files.files], "run: got '[^']*', without run.toml; allowed"),
    ],
    ids=["missing", "version", "table", "nothing", "foreign", "cut", "empty"],
)
def test_a_folder_that_is_none_is_refused(folder, change, message):
    files = folder[0]
    change(files)
    with pytest.raises(CheckpointError, match=message):
        RunFolder.open(files.directory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"environment\.json' \(No such file or directory\); allowed: that of a run"),
        (
            '{"format": 99, "data": {}, "sessions": [{}]}',
            r"environment\.json', of the form 99; allowed: 1, that of this",
        ),
        ('{"data": {}, "sessions": [{}]}', "of the form None; allowed: 1"),
        ('{"format": 1, "data": {}, "sessions": []}', r"\(no such form\)"),
        ('{"format": 1, "data": {}, "sessions": [3]}', r"\(no such form\)"),
        ('{"format": 1, "data": 3, "sessions": [{}]}', r"\(no such form\)"),
        ('{"format": 1, "data": {}, "sessions": {"a": {}}}', r"\(no such form\)"),
        *((text, r"\(no such form\)") for text in ("", "[1]", "nonsense")),
        ("[" * 100_000, r"\(no such form\)"),
        (f'{{"format": {"9" * 5000}}}', r"\(no such form\)"),
    ],
)
def test_an_environment_that_is_none_is_refused(folder, text, message):
    files = folder[0]
    if text is None:
        files.environment_file.unlink()
    else:
        files.environment_file.write_text(text)
    with pytest.raises(CheckpointError, match=f"^environment: got .*{message}"):
        files.read_environment()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("", r"\(empty\); allowed: the log of a run"),
        ("{}", "of the form None; allowed: 1"),
        ('{"format": 7}\n', "of the form 7; allowed: 1"),
        ('{"format": 1}\n{"epoch": 1, "lo', "whose line 2 is no entry"),
        ('{"format": 1}\n[1]\n', "whose line 2 is no entry"),
        ('{"format": 1}\n{"epoch": 2}\n', "whose line 2 is not of epoch 1"),
        ('{"format": 1}\n{"epoch": 1, "loss": "low"}\n', "whose line 2 has loss = 'low'; allowed: .* of finite"),
        ('{"format": 1}\n{"epoch": 1, "loss": [1]}\n', r"whose line 2 has loss = \[1\]; allowed: .* numbers and null"),
        ('{"format": 1}\n{"epoch": 1}\n{"epoch": 2, "loss": true}\n', "whose line 3 has loss = True"),
        ('{"format": 1}\n{"epoch": 1, "loss": "1.5"}\n', "whose line 2 has loss = '1.5'"),
        ('{"format": 1}\n{"epoch": 1, "loss": 1e999}\n', "whose line 2 has loss = inf"),
        ('{"format": 1}\n{"epoch": 1, "loss": NaN}\n', "whose line 2 has loss = nan"),
        (f'{{"format": 1}}\n{{"epoch": 1, "loss": {"9" * 400}}}\n', "whose line 2 has loss = 9{39};|9{40};"),
        (f'{{"format": 1}}\n{{"epoch": 1, "loss": {"9" * 5000}}}\n', "whose line 2 is no entry"),
        (f'{{"format": 1}}\n{"[" * 100_000}\n', "whose line 2 is no entry"),
        ('{"format": 1}\n{"epoch": true}\n', "whose line 2 is not of epoch 1"),
        ('{"format": 1}\n{"epoch": 1.0}\n', "whose line 2 is not of epoch 1"),
        ('{"format": true}\n', "of the form True; allowed: 1"),
        (b"\xff\xfe", "no text"),
    ],
)
def test_a_log_that_is_none_is_refused(folder, text, message):
    files = folder[0]
    if text is None:
        files.log.unlink()
    else:
        files.log.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=message):
        files.read_history()


def test_weights_that_do_not_say_what_they_are_of_are_refused(folder):
    files = folder[0]
    with fc.use_backend("numpy"):
        files.load_model().save_weights(files.weights)
        with pytest.raises(CheckpointError, match=r"weights: got .* without class_names and input_shape; allowed: "):
            files.load_model()


def test_what_weights_say_of_themselves_is_checked(folder):
    files = folder[0]
    write_tensors(files.weights, {}, {"kind": "weights", "about": {"class_names": ["a"], "input_shape": None}})
    with pytest.raises(CheckpointError, match="whose metadata has input_shape None; allowed: a list of sizes"):
        files.load_model()


def test_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "nothing"):
        with pytest.raises(CheckpointError, match="which is no folder; allowed: the folder of a run"):
            RunFolder.open(tmp_path / name)


def test_a_folder_has_one_owner_and_loses_what_was_half_written(tmp_path):
    files = RunFolder(tmp_path / "run")
    files.directory.mkdir()
    (files.directory / ".checkpoint.safetensors.ab12.tmp").touch()
    (files.directory / ".mine.tmp").touch()
    with owned(files), pytest.raises(OwnedError, match=r"directory: got .*run, where another training is running"):
        owned(files).__enter__()
    assert [path.name for path in files.directory.iterdir()] == [".mine.tmp"]


def test_what_was_made_and_stayed_empty_is_taken_away(tmp_path):
    (tmp_path / "mine").mkdir()
    with owned(RunFolder(tmp_path / "mine" / "runs" / "many" / "first")) as files:
        (tmp_path / "mine" / "runs" / "other").touch()
        assert files.directory.is_dir()
    assert [path.name for path in (tmp_path / "mine" / "runs").iterdir()] == ["other"]
    with owned(RunFolder(tmp_path / "mine" / "more" / "first")):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["runs"]


def test_whether_a_training_runs_can_be_seen_and_looking_disturbs_none(tmp_path, monkeypatch):
    files = RunFolder(tmp_path)
    assert not files.is_running()
    with owned(files):
        assert files.is_running()
    assert not files.is_running()
    looking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(folder_lock, "sleep", lambda seconds: os.close(looking))  # the look is over meanwhile
    with owned(files):
        assert files.is_running()


def test_every_steps_is_checked():
    with pytest.raises(ArgumentError, match="every_steps: got -1"):
        RunSaver(RunFolder("x"), Recipe.of({}), {}, {}, every_steps=-1)
    assert not ProgressDisplay.saves
    assert RunSaver.saves
