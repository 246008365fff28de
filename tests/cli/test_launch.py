from __future__ import annotations

import pytest

from fastconv.cli import main
from fastconv.training.run_folder import RunFolder
from tests.cli.commands import SMALL, fails, weights_of

_RECIPE = ("train", *SMALL, "--set", "parallel.shards=4")


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
