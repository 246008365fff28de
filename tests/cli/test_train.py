"""``fastconv train``: what it prints and writes, and that each option arrives where it is meant to."""

import math
import re
import shlex
from contextlib import contextmanager

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.cli.choices import MODELS, usual_for
from fastconv.data import FlipCrop, cifar, cifar10, shapes10
from fastconv.nn import Dropout
from fastconv.nn.model.weights import read_tensors
from fastconv.optim import schedules
from fastconv.training.run_folder import RunFolder

from .commands import COUNT, SMALL, TINY, fails, history_of, weights_of, write_cifar10


def test_train_shows_progress_and_writes_files(tmp_path, capsys):
    assert main(["train", *SMALL]) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "runs" / "shapes10-lenet5"
    assert {path.name for path in folder.iterdir()} == {
        *("checkpoint.safetensors", "environment.json", "log.jsonl", "run.toml", "weights.safetensors"),
    }
    for path in ("weights.safetensors", "log.jsonl", "run.toml"):
        assert f"runs/shapes10-lenet5/{path}" in out
    assert "fastconv train --dataset cifar10 --data-dir DIR" in out
    history = history_of(folder)
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= history.keys()
    assert {len(values) for values in history.values()} == {2}
    assert f"test accuracy {history['val_accuracy'][-1]:.2%} after 2 epochs" in out
    assert err == ""
    lines = out.splitlines()
    heading, first, second = lines[lines.index(next(line for line in lines if "val_accuracy" in line)) :][:3]
    assert first.startswith("epoch 1/2 ")
    row = dict(zip(heading.split(), second.removeprefix("epoch 2/2").split(), strict=True))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert row[name] == f"{history[name][1]:.4f}"


@pytest.mark.parametrize("options", [(), ("--augment", "--weight-decay", "0.0005", "--schedule", "one-cycle")])
def test_lines_fit_80_columns_and_their_number_is_bounded(capsys, options):
    assert main(["train", *TINY, "--epochs", "12", *options, "--output", "r"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 30


def test_log_has_no_control_characters(capsys):
    assert main(["train", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert all(character.isprintable() or character == "\n" for character in out + err)


def test_train_same_seed_same_weights():
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert main(["train", *SMALL, "--augment", "--seed", seed, "--output", name]) == 0
    a, b, c = (weights_of(name) for name in "abc")
    assert a == b
    assert a != c


def test_augmentation_changes_the_weights():
    for name in ("augment", "no-augment"):
        assert main(["train", *TINY, f"--{name}", "--output", name]) == 0
    assert main(["train", *TINY, "--output", "default"]) == 0
    assert weights_of("default") == weights_of("no-augment") != weights_of("augment")


@pytest.mark.parametrize(
    ("words", "recipe", "epochs", "augment"),
    [
        (["--model", "keras_cnn"], ("Adam", 2e-3, "OneCycle", 0.0), 5, False),
        (["--model", "lenet5"], ("Adam", 2e-3, "OneCycle", 0.0), 5, False),
        (["--model", "mlp", "--dataset", "cifar10"], ("Adam", 1e-3, "OneCycle", 0.0), 10, True),
        (["--model", "mlp", "--dataset", "cifar10", "--no-augment"], ("Adam", 1e-3, "OneCycle", 0.0), 10, False),
        (["--model", "mlp", "--augment", "--epochs", "3"], ("Adam", 1e-3, "OneCycle", 0.0), 3, True),
        (["--model", "resnet20"], ("SGD", 0.2, "OneCycle", 5e-4), 5, False),
        (["--model", "resnet20", "--weight-decay", "0"], ("SGD", 0.2, "OneCycle", 0.0), 5, False),
        (["--model", "resnet20", "--optimizer", "sgd", "--lr", "0.1"], ("SGD", 0.1, "OneCycle", 5e-4), 5, False),
        (["--model", "resnet20", "--optimizer", "adam", "--lr", "0.01"], ("Adam", 0.01, "OneCycle", 0.0), 5, False),
        (["--model", "resnet9", "--schedule", "cosine"], ("SGD", 0.2, "Cosine", 5e-4), 5, False),
        (
            ["--model", "mlp", "--optimizer", "sgd", "--lr", "0.05", "--weight-decay", "0.1"],
            ("SGD", 0.05, "OneCycle", 0.1),
            *(5, False),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_given_comes_from_the_recipe(tmp_path, monkeypatch, fitted, words, recipe, epochs, augment):
    write_cifar10(tmp_path / "data", monkeypatch)
    data = ["--data-dir", "data"] if "cifar10" in words else []
    assert main(["train", "--limit", "20", "--backend", "numpy", *words, *data]) == 0
    trainer = fitted["trainer"]
    optimizer, lr, schedule, weight_decay = recipe
    assert type(trainer.optimizer).__name__ == optimizer
    assert trainer.optimizer.lr == lr
    assert trainer.optimizer.weight_decay == weight_decay
    assert type(trainer.schedule).__name__ == schedule
    assert fitted["epochs"] == epochs
    assert fitted["train"].augmentation == (FlipCrop() if augment else None)
    assert fitted["test"].augmentation is None
    assert not fitted["test"].shuffle
    assert fitted["train"].shuffle


def test_sgd_has_the_momentum_of_nesterov(fitted):
    assert main(["train", *SMALL, "--optimizer", "sgd", "--lr", "0.1"]) == 0
    settings = fitted["trainer"].optimizer.settings()
    assert settings == {"momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 0.0, "l1": 0.0}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_weight_decay_arrives(fitted, optimizer):
    assert main(["train", *SMALL, "--optimizer", optimizer, "--lr", "0.1", "--weight-decay", "0.25"]) == 0
    assert fitted["trainer"].optimizer.weight_decay == 0.25


def test_label_smoothing_batch_size_and_dtype_arrive(fitted):
    assert main(["train", *SMALL, "--label-smoothing", "0.1", "--batch-size", "7", "--dtype", "float64"]) == 0
    assert fitted["trainer"].loss.label_smoothing == 0.1
    assert fitted["train"].batch_size == 7
    assert {loader.dtype for loader in (fitted["train"], fitted["test"])} == {np.dtype("float64")}
    assert fitted["trainer"].model.dtype == np.float64


def test_the_seed_arrives_everywhere(fitted):
    weights = {}
    for seed in (3, 4):
        assert main(["train", *SMALL, "--model", "keras_cnn", "--seed", str(seed), "--output", str(seed)]) == 0
        trainer = fitted["trainer"]
        assert fitted["train"].seed == seed
        assert trainer.seed == seed  # of dropout
        weights[seed] = next(iter(trainer.model.parameters())).data.copy()
    assert (weights[3] != weights[4]).any()
    assert any(isinstance(layer, Dropout) for _, layer in trainer.model.children())


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("constant", lambda lr, steps: schedules.Constant(lr)),
        ("step", lambda lr, steps: schedules.Step(lr, (steps // 2, steps * 3 // 4))),
        ("cosine", schedules.Cosine),
        ("one-cycle", schedules.OneCycle),
    ],
)
def test_the_schedule_arrives_and_spans_the_run(name, make):
    words = ["train", *TINY, "--batch-size", "5", "--epochs", "4", "--lr", "0.01", "--schedule", name]
    assert main([*words, "--output", "run"]) == 0
    rates = history_of("run")["learning_rate"]
    schedule = make(0.01, 16)
    assert rates == [pytest.approx(schedule(step), rel=1e-12) for step in (3, 7, 11, 15)]


@pytest.mark.parametrize("dataset", ["shapes10", "cifar10"])
def test_the_limit_arrives(tmp_path, monkeypatch, fitted, dataset):
    write_cifar10(tmp_path / "data", monkeypatch)
    data = ["--data-dir", "data"] if dataset == "cifar10" else []
    assert main(["train", *TINY, "--dataset", dataset, *data, "--limit", "13"]) == 0
    assert [len(fitted[part].dataset) for part in ("train", "test")] == [13, 13]
    train, test = (cifar10("data", part) if data else shapes10(part, size=13) for part in ("train", "test"))
    np.testing.assert_array_equal(fitted["train"].dataset.images, train.images[:13])
    np.testing.assert_array_equal(fitted["test"].dataset.images, test.images[:13])


def test_without_a_limit_all_images_are_used(tmp_path, monkeypatch, fitted):
    write_cifar10(tmp_path / "data", monkeypatch)
    assert main(["train", "--model", "mlp", "--backend", "numpy", "--dataset", "cifar10", "--data-dir", "data"]) == 0
    assert [len(fitted[part].dataset) for part in ("train", "test")] == [5 * COUNT, COUNT]


def test_the_computing_options_arrive(fitted, monkeypatch):
    import fastconv as fc

    threads = []
    monkeypatch.setattr(type(fc.get_backend("numpy")), "set_num_threads", lambda self, count: threads.append(count))
    assert main(["train", *SMALL, "--precision", "strict", "--threads", "3"]) == 0
    assert fc.get_backend().name == "numpy"
    assert fc.get_precision() == "strict"
    assert threads == [3]


def test_every_model_can_be_trained():
    from fastconv import models

    assert set(MODELS) == set(models.__all__) - {"PrunedExport", "export_pruned", "fine_tune", "load"}
    assert (usual_for("resnet20").optimizer, usual_for("something new").optimizer) == ("SGD", "Adam")


def printed_command(out, word):
    """Return the words behind "fastconv" of the command that is printed behind `word`."""
    line = next(line for line in out.splitlines() if line.startswith(word))
    words = shlex.split(line[line.index("fastconv ") :])
    return words[1:]


@pytest.mark.parametrize("folder", ["run", "two words", "a'quote", "x[/]", "-dash", "$HOME;x", "[bold]"])
def test_the_next_command_runs_as_printed(capsys, folder):
    assert main(["train", *TINY, f"--output={folder}"]) == 0
    out = capsys.readouterr().out
    assert f"log       {folder}/log.jsonl\n" in out
    assert main(printed_command(out, "next")) == 0
    accuracy = re.search(r"accuracy (\S+)%", out).group(1)
    assert f"accuracy {accuracy}%" in capsys.readouterr().out


def test_the_next_command_names_the_data(tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path / "my data", monkeypatch)
    words = ["train", "--model", "mlp", "--epochs", "1", "--dataset", "cifar10", "--data-dir", "my data"]
    assert main([*words, "--backend", "numpy", "--limit", "15", "--threads", "1"]) == 0
    command = printed_command(capsys.readouterr().out, "next")
    assert main(command) == 0
    assert "cifar10/test: " in capsys.readouterr().out
    assert {"--data-dir=my data", "--backend=numpy", "--limit=15", "--threads=1"} <= set(command)


@pytest.mark.parametrize("words", [("--lr", "1e30"), ("--optimizer", "sgd", "--lr", "1e15")])
def test_a_loss_that_is_not_finite_is_an_error_and_writes_nothing(tmp_path, capsys, words):
    with np.errstate(all="ignore"):
        error = fails(capsys, "train", *SMALL, "--model", "mlp", *words, "--schedule", "constant")
    assert "loss: got " in error
    assert "epoch 1" in error
    assert "allowed: a finite one" in error
    assert not (tmp_path / "runs" / "shapes10-mlp").exists()


def test_a_loss_that_goes_astray_leaves_the_epochs_before(tmp_path, capsys, monkeypatch):
    from fastconv.training import Trainer

    train_epoch = Trainer._train_epoch

    def astray(self, batches):
        logs = train_epoch(self, batches)
        return logs | {"loss": math.nan} if self.epoch == 1 else logs

    assert main(["train", *SMALL, "--epochs", "1", "--schedule", "constant", "--output", "one"]) == 0
    monkeypatch.setattr(Trainer, "_train_epoch", astray)
    assert "in epoch 2" in fails(capsys, "train", *SMALL, "--schedule", "constant", "--output", "run")
    assert weights_of("run") == weights_of("one")


def test_train_resumes_with_the_same_bits(capsys, monkeypatch):
    assert main(["train", *SMALL, "--augment", "--output", "whole"]) == 0
    capsys.readouterr()
    with stopped_after_an_epoch(monkeypatch):
        assert main(["train", *SMALL, "--augment", "--output", "parts"]) == 130
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "interrupted"
    assert main(printed_command(err, "to go on")) == 0
    assert "after epoch 1" in capsys.readouterr().out
    assert weights_of("parts") == weights_of("whole")


@contextmanager
def stopped_after_an_epoch(monkeypatch):
    from fastconv.training.run_saver import RunSaver

    save = RunSaver.on_epoch_end

    def save_and_stop(self, trainer, logs):
        save(self, trainer, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunSaver, "on_epoch_end", save_and_stop)
        yield


@pytest.mark.parametrize("words", [[], ["--output", "a b"], ["--output=a[b]", "--seed", "7"]], ids=" ".join)
def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch, words):
    commands = []
    with stopped_after_an_epoch(monkeypatch):
        assert main(["train", *SMALL, *words]) == 130
        commands.append(printed_command(capsys.readouterr().err, "to go on"))
        assert main(commands[0]) == 130
        commands.append(printed_command(capsys.readouterr().err, "to go on"))
    assert commands[0] == commands[1]
    assert main(commands[0]) == 0
    assert "after epoch 2 of 2: nothing is left to do" in capsys.readouterr().out


def test_an_interrupt_before_any_file_does_not_send_to_resume(capsys, monkeypatch):
    from fastconv.training import Trainer

    def interrupted(self, *_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    assert main(["train", *SMALL]) == 130
    assert "resume" not in capsys.readouterr().err


def test_the_number_of_epochs_may_change_and_the_schedule_is_told(capsys):
    assert main(["train", *SMALL, "--epochs", "1", "--output", "run", "--threads", "1"]) == 0
    capsys.readouterr()
    assert main(["resume", "run", "--epochs", "3"]) == 0
    out = capsys.readouterr().out
    assert "resumed   after epoch 1\n" in out
    assert "the schedule (OneCycle) now spans 3 epochs, not 1" in out
    assert {len(v) for v in history_of("run").values()} == {3}
    assert RunFolder.open("run").recipe.epochs == 3


def test_names_of_the_classes_and_the_normalisation_are_written(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "data", monkeypatch)
    assert main(["train", *TINY, "--dataset", "cifar10", "--data-dir", "data", "--output", "run"]) == 0
    about = read_tensors("run/weights.safetensors", kind="weights")[1]["about"]
    assert about["class_names"] == list(cifar.CLASS_NAMES)
    assert (about["mean"], about["std"]) == (list(cifar.MEAN), list(cifar.STD))
    assert (about["dataset"], about["model"]) == ("cifar10", "lenet5")


@pytest.mark.slow
def test_train_without_arguments_learns_shapes10(tmp_path):
    """The README's first command: a small CNN passes 95 % where a linear model stays below 60."""
    assert main(["train", "--backend", "numba"]) == 0
    history = history_of(tmp_path / "runs" / "shapes10-keras_cnn")
    assert history["val_accuracy"][-1] > 0.95
