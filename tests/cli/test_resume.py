"""``fastconv resume``: it needs nothing but the folder, and ends with the bits of the undisturbed run."""

import json
import shlex
from contextlib import contextmanager

import pytest

from fastconv.cli import main
from fastconv.training import Callback, History, Trainer, run_folder
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder, owned
from fastconv.training.run_saver import RunSaver

from .commands import SMALL, TINY, fails, files_of, history_of, weights_of, write_cifar10


class Interrupt(Callback):
    """Interrupts behind a step, after the state was written."""

    saves = True

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, info):
        if trainer.step == self.step:
            raise KeyboardInterrupt


@contextmanager
def interrupted_at(monkeypatch, step):
    fit = Trainer.fit

    def fit_until(self, *arguments, **settings):
        self.callbacks = (*self.callbacks, Interrupt(step))
        return fit(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fit_until)
        yield


def figures(folder):
    return {name: values for name, values in history_of(folder).items() if "second" not in name}


@pytest.mark.parametrize("every", ["0", pytest.param("1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("write", [(Trainer, "save"), (RunFolder, "write_weights")], ids=["state", "weights"])
def test_an_interrupt_right_behind_the_first_file_leaves_a_run(capsys, monkeypatch, write, every):
    """Between a file's last byte and the next line that a process may run."""
    words = ["train", *SMALL, "--save-every-steps", every]
    assert main([*words, "--output", "whole"]) == 0
    real = getattr(*write)

    def write_and_stop(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*write, write_and_stop)
        assert main([*words, "--output", "parts"]) == 130
    assert "to go on: fastconv resume parts" in capsys.readouterr().err
    assert main(["resume", "parts"]) == 0
    assert weights_of("parts") == weights_of("whole")


@pytest.mark.parametrize("step", [4, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 5))])
def test_in_mid_epoch_with_the_command_that_was_printed(capsys, monkeypatch, step):
    words = ["train", *SMALL, "--augment", "--optimizer", "sgd", "--lr", "0.05", "--save-every-steps", "1"]
    assert main([*words, "--output", "whole"]) == 0
    with interrupted_at(monkeypatch, step):
        assert main([*words, "--output", "parts"]) == 130
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("to go on: fastconv "))
    assert line == "to go on: fastconv resume parts"
    assert main(shlex.split(line)[4:]) == 0
    out = capsys.readouterr().out
    assert f"resumed   in epoch {(step - 1) // 3 + 1}, after batch {(step - 1) % 3 + 1} of 3\n" in out
    assert weights_of("parts") == weights_of("whole")
    assert figures("parts") == figures("whole")
    assert len(RunFolder.open("parts").read_environment()["sessions"]) == 2


def test_the_data_set_is_found_where_it_was(tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path / "data", monkeypatch)
    words = ["--dataset", "cifar10", "--data-dir", "data", "--epochs", "1"]
    assert main(["train", *SMALL, *words, "--output", "run"]) == 0
    monkeypatch.chdir("/")
    assert main(["resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    assert "data_batch_1" in (error := fails(capsys, "resume", tmp_path / "run", "--epochs", "3")) or "no " in error
    assert main(["resume", str(tmp_path / "run"), "--epochs", "3", "--data-dir", str(tmp_path / "moved")]) == 0
    assert len(history_of(tmp_path / "run")["loss"]) == 3
    path = tmp_path / "moved" / "data_batch_2.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    error = fails(capsys, "resume", tmp_path / "run", "--epochs", "4")
    assert "data: got other pixels or labels in as many images" in error


def test_a_run_that_was_killed_before_its_first_state_begins_anew(trained, tmp_path, capsys):
    want = weights_of("run")
    for name in ("checkpoint", "weights"):
        (tmp_path / "run" / f"{name}.safetensors").unlink()
    RunFolder(tmp_path / "run").write_log(History())
    assert main(["resume", "run"]) == 0
    assert "resumed   from the beginning\n" in capsys.readouterr().out
    assert weights_of("run") == want


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_run_that_was_killed_at_its_very_beginning_begins_anew(monkeypatch, run_files, tmp_path, count):
    """A kill behind each of the first files: none leads to a folder that can be neither resumed nor begun."""
    write, written = run_folder.write_atomically, []

    def write_some(path, data):
        if len(written) == count:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_atomically", write_some)
        patch.setattr(Trainer, "_train_epoch", lambda *_: write_some("weights", b""))
        patch.setattr(RunSaver, "on_train_end", lambda *_: None)  # a process that was killed takes nothing away
        assert main(["train", *SMALL, "--output", "run"]) == 130
    again = ["resume", "run"] if count else ["train", *SMALL, "--output", "run"]
    assert main(again) == 0
    (tmp_path / "want").mkdir()
    (tmp_path / "want/weights.safetensors").write_bytes(run_files["weights.safetensors"])
    assert weights_of("run") == weights_of("want")


def test_a_run_that_is_over_stays_as_it_is(trained, tmp_path, capsys):
    before = files_of(tmp_path / "run")
    assert main(["resume", "run"]) == 0
    assert "resumed   after epoch 2 of 2: nothing is left to do\n" in capsys.readouterr().out
    assert files_of(tmp_path / "run") == before


def test_a_run_that_is_running_is_refused(trained, capsys):
    with owned(RunFolder.open("run")):
        assert "run: got run, where another training is running" in fails(capsys, "resume", "run", "--epochs", "3")


def test_a_run_that_a_callback_ended_is_over(capsys, monkeypatch):
    class Stop(Callback):
        def on_epoch_end(self, trainer, logs):
            trainer.stop = True

    fit = Trainer.fit

    def fit_once(self, *arguments, **settings):
        self.callbacks = (*self.callbacks, Stop())
        return fit(self, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fit_once)
        assert main(["train", *SMALL, "--output", "run"]) == 0
    want = weights_of("run")
    assert main(["resume", "run"]) == 0
    assert "resumed   after epoch 1 of 2: a callback ended it\n" in capsys.readouterr().out
    assert weights_of("run") == want


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "run.toml", "environment.json"])
def test_damaged_files_are_named_and_nothing_is_lost(trained, tmp_path, capsys, name):
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:-40])
    before = files_of(tmp_path / "run")
    error = fails(capsys, "resume", "run", "--epochs", "3")
    assert name in error
    assert files_of(tmp_path / "run") == before


CHANGES = [
    *(("loader", "batch_size", 5), ("loader", "shuffle", False), ("optimizer", "lr", 0.5), ("run", "seed", 7)),
    *(("run", "precision", "strict"), ("loss", "label_smoothing", 0.1), ("model", "name", "mlp"), ("data", "limit", 3)),
]


@pytest.mark.parametrize(("table", "key", "value"), CHANGES)
def test_another_recipe_is_not_resumed(trained, tmp_path, capsys, table, key, value):
    folder = RunFolder.open("run")
    folder.write_recipe(folder.recipe.changed(table, **{key: value}))
    before = files_of(tmp_path / "run")
    error = fails(capsys, "resume", "run", "--epochs", "3")
    assert f"whose run.toml says {table}.{key} = {str(value).lower()} where the run has " in error
    assert "another data.directory, data.images, run.backend, run.epochs, run.save_every_steps at most" in error
    assert files_of(tmp_path / "run") == before


def test_what_comes_and_goes_in_a_recipe_is_told(trained, capsys):
    folder = RunFolder.open("run")
    folder.write_recipe(Recipe.of({**folder.recipe.tables, "augmentation": [{"name": "Flip"}], "callbacks": []}))
    error = fails(capsys, "resume", "run", "--epochs", "3")
    assert "augmentation[1].name = Flip where the run has nothing" in error


def test_the_state_of_another_model_is_refused(trained, capsys):
    folder = RunFolder.open("run")
    folder.write_recipe(folder.recipe.changed("model", name="mlp"))
    told = json.loads(folder.environment_file.read_text())
    for session in told["sessions"]:
        del session["recipe"]  # as older versions wrote it
    folder.environment_file.write_text(json.dumps(told))
    assert "a file of another model" in fails(capsys, "resume", "run", "--epochs", "3")


def test_it_may_save_more_often(monkeypatch, capsys):
    assert main(["train", *TINY, "--output", "run"]) == 0
    assert main(["resume", "run", "--epochs", "2", "--save-every-steps", "1", "--backend", "numpy"]) == 0
    assert RunFolder.open("run").recipe.tables["run"]["save_every_steps"] == 1


def test_a_run_whose_state_was_taken_away_is_not_written_over(trained, tmp_path, capsys):
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    before = files_of(tmp_path / "run")
    told = fails(capsys, "resume", "run", "--epochs", "5")
    assert "run: got 'run', whose log has 2 epochs, without checkpoint.safetensors, the state to go on from;" in told
    assert files_of(tmp_path / "run") == before
    command = told.split("'fastconv ")[1].partition("'")[0]
    assert main([*shlex.split(command), "--output", "again"]) == 0
    assert weights_of("again") == weights_of("run")
