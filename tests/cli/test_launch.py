from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from fastconv.cli import launch as launching
from fastconv.cli import main
from fastconv.training.run_folder import RunFolder
from tests.cli.commands import SMALL, fails, history_of, weights_of
from tests.parallel.jobs import ROOT, rank_process

_RECIPE = ("train", *SMALL, "--set", "parallel.shards=4")
_LONG = (*_RECIPE, "--epochs", "8", "--output")


def test_a_recipe_with_shards_trains_without_a_launcher(tmp_path, capsys):
    assert main([*_RECIPE, "--output", str(tmp_path / "run")]) == 0
    assert RunFolder.open(tmp_path / "run").recipe.tables["parallel"]["shards"] == 4


@pytest.mark.mpi
@pytest.mark.filterwarnings("ignore:.*take turns")  # as they may in a test
def test_two_ranks_train_what_one_does(job_environment, tmp_path, capfd):
    assert main([*_RECIPE, "--output", str(tmp_path / "one")]) == 0
    capfd.readouterr()
    assert main(["launch", "-n", "2", *_RECIPE, "--output", str(tmp_path / "two")]) == 0
    shown = capfd.readouterr().out
    assert shown.count("epoch 2/2") == shown.count("test accuracy") == 1  # one rank shows
    assert weights_of(tmp_path / "two") == weights_of(tmp_path / "one")
    # Taken up by four, for another epoch, they are still the same.
    for count, name in ((4, "two"), (1, "one")):
        assert (
            main(["launch", "-n", str(count), "--threads", "1", "resume", str(tmp_path / name), "--epochs", "3"]) == 0
        )
    assert weights_of(tmp_path / "two") == weights_of(tmp_path / "one")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of a training by one rank that nobody told anything."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*_LONG, str(folder)]) == 0
    return weights_of(folder)


@pytest.mark.mpi
@pytest.mark.parametrize("told", ["launch", 0, 1])
def test_a_job_whose_time_is_nearly_over_saves_and_goes_on(job_environment, undisturbed, tmp_path, told):
    folder = tmp_path / "told"
    command = [sys.executable, "-m", "fastconv", "launch", "-n", "2", "--threads", "1", "--max-restarts", "1"]
    with subprocess.Popen([*command, *_LONG, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
        end = time.monotonic() + 120
        while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(job.pid if told == "launch" else rank_process(str(folder), told), signal.SIGUSR1)
        shown, _ = job.communicate(timeout=120)
    assert job.returncode == 75
    assert shown.count("stopped   in epoch") == 1
    assert f"to go on: fastconv launch -n 2 resume {folder}" in shown
    assert 0 < len(history_of(folder)["loss"]) < 8
    assert main(["resume", str(folder)]) == 0
    assert weights_of(folder) == undisturbed


@pytest.mark.mpi
def test_several_ranks_share_without_being_told_how(job_environment, tmp_path):
    assert main(["launch", "-n", "2", "train", *SMALL, "--output", str(tmp_path / "run")]) == 0
    assert RunFolder.open(tmp_path / "run").recipe.tables["parallel"]["shards"] == 8


@pytest.mark.mpi
def test_a_folder_that_holds_a_run_is_told_of_once(job_environment, tmp_path, capfd):
    words = [*_RECIPE, "--output", str(tmp_path / "run")]
    assert main(words) == 0
    capfd.readouterr()
    assert main(["launch", "-n", "2", *words]) == 2
    assert capfd.readouterr().err.count("which holds a run") == 1


@pytest.mark.mpi
@pytest.mark.filterwarnings("ignore:.*take turns")  # as they may in a test
def test_ranks_that_do_not_divide_the_shards_are_told_of_once(job_environment, tmp_path, capfd):
    assert main(["launch", "-n", "3", "--threads", "1", *_RECIPE, "--output", str(tmp_path / "run")]) == 2
    assert capfd.readouterr().err.count("got 3 ranks for 4 shards") == 1
    assert not (tmp_path / "run").exists()


def test_words_of_a_training_are_checked_before_it_begins(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["launch", "-n", "2", "train", "--modell", "lenet5"])
    assert leaving.value.code == 2
    assert "--modell" in capsys.readouterr().err


def test_a_training_that_may_start_again_needs_a_folder(capsys):
    said = fails(capsys, "launch", "-n", "2", "--max-restarts", "1", "train", *SMALL)
    assert "--max-restarts: got a training without --output" in said


def test_no_program(capsys):
    assert "launch: got no program" in fails(capsys, "launch", "-n", "2")
    assert "launch: got no program" in fails(capsys, "launch", "-n", "2", "--")


@pytest.mark.parametrize(("words", "folder"), [(["--outp", "runs/x"], "runs/x"), (["--output=-x"], "./-x")])
def test_a_job_that_failed_is_taken_up_in_its_folder(monkeypatch, words, folder):
    """Whose name may look like an option, and the option be cut short."""
    seen = {}
    monkeypatch.setattr(launching, "launch", lambda *_, restart, **__: seen.update(restart=restart) or 0)
    assert main(["launch", "-n", "2", "--max-restarts", "1", "train", *SMALL, *words]) == 0
    assert seen["restart"] == ["-m", "fastconv", "resume", folder]
