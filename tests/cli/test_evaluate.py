"""``fastconv evaluate``: the figures, what they are of, and which weights are refused."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.cli import evaluate, main
from fastconv.data import DataLoader, shapes10
from fastconv.nn.model.weights import load_weights, read_tensors, write_tensors
from fastconv.training import logits

from .commands import SMALL, fails, history_of, write_cifar10


def change_about(path, **changes):
    """Write the weights file again, with another word on what it is; None takes one out."""
    tensors, manifest = read_tensors(path, kind="weights")
    about = {name: value for name, value in (manifest["about"] | changes).items() if value is not None}
    write_tensors(path, tensors, {"kind": "weights", "about": about})


def test_evaluate_agrees_with_the_training(trained, tmp_path, capsys):
    assert main(["evaluate", trained, "--limit", "60", "--backend", "numpy"]) == 0
    history = history_of("run")
    out = capsys.readouterr().out
    assert f"accuracy {history['val_accuracy'][-1]:.2%}" in out
    assert f"loss {history['val_loss'][-1]:.4f}" in out


def test_the_tables_show_what_was_taken_for_what(trained, capsys, monkeypatch):
    """Image i has class i % 10. All are taken for class 0, but for every second one of class 3."""
    guesses = np.zeros(40, int)
    guesses[[3, 23]] = 3

    monkeypatch.setattr(evaluate, "compute_logits", lambda *_: np.eye(10, dtype=np.float32)[guesses] * 9)
    assert main(["evaluate", trained, "--limit", "40", "--backend", "numpy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading, *rows = (line.split() for line in lines[:11])
    names = shapes10(size=0).class_names
    assert heading == ["class", "precision", "recall", "F1", "images"]
    ratios = {0: ["10.5%", "100.0%", "19.0%"], 3: ["100.0%", "50.0%", "66.7%"]}
    assert rows == [[name, *ratios.get(label, ["0.0%"] * 3), "4"] for label, name in enumerate(names)]
    matrix = [
        line.split()[2:] for line in lines[lines.index("row: what it is, column: what it is taken for") + 2 :][:10]
    ]
    counts = np.zeros((10, 10), int)
    counts[:, 0], counts[3] = 4, [2, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert matrix == [list(map(str, row)) for row in counts]
    assert max(map(len, lines)) <= 80


def test_of_many_classes_the_most_frequent_confusions_are_named(trained, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "_MATRIX", 3)
    monkeypatch.setattr(evaluate, "compute_logits", lambda *_: np.eye(10, dtype=np.float32)[[1, 1, 1, 1] * 10])
    assert main(["evaluate", trained, "--limit", "40", "--backend", "numpy"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    begin = lines.index(["is", "is", "taken", "for", "images"])
    assert lines[begin + 1 : begin + 3] == [["circle", "ring", "4"], ["square", "ring", "4"]]


def test_the_folder_of_a_run_says_where_its_images_are(tmp_path, monkeypatch, capsys):
    write_cifar10(tmp_path / "data", monkeypatch)
    assert (
        main(["train", *SMALL, "--dataset", "cifar10", "--data-dir", "data", "--limit", "15", "--output", "run"]) == 0
    )
    monkeypatch.chdir("/")
    capsys.readouterr()
    for command in ("evaluate", "predict"):
        assert main([command, str(tmp_path / "run"), "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "cifar10/test: loss" in out
    assert "15 images in " in out


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_without_weights_is_refused(trained, tmp_path, capsys, command):
    (tmp_path / trained).unlink()
    assert "run: got 'run', where there are no weights yet" in fails(capsys, command, "run")
    (tmp_path / "run/run.toml").unlink()
    assert "without run.toml; allowed: the folder of a run" in fails(capsys, command, "run")


def test_the_loss_is_that_of_the_training(capsys):
    assert main(["train", *SMALL, "--loss", "MulticlassHinge", "margin=0.5", "--output", "run"]) == 0
    history = history_of("run")
    assert main(["evaluate", "run", "--backend", "numpy"]) == 0
    assert f"loss {history['val_loss'][-1]:.4f}" in capsys.readouterr().out


def test_a_class_without_images_has_no_accuracy(trained, capsys):
    assert main(["evaluate", trained, "--limit", "9", "--backend", "numpy"]) == 0
    assert capsys.readouterr().out.splitlines()[10].split() == ["stripes", "0"]


def test_the_limit_arrives(trained, tmp_path, monkeypatch, capsys):
    assert main(["evaluate", trained, "--limit", "17", "--backend", "numpy"]) == 0
    assert "17 images in " in capsys.readouterr().out
    write_cifar10(tmp_path / "data", monkeypatch)
    change_about(trained, dataset="cifar10")
    assert main(["evaluate", trained, "--limit", "7", "--data-dir", "data", "--backend", "numpy"]) == 0
    assert "7 images in " in capsys.readouterr().out


def test_the_batch_size_arrives(trained, monkeypatch, capsys):
    sizes = []
    monkeypatch.setattr(logits, "DataLoader", lambda *a, **k: sizes.append(a[1]) or DataLoader(*a, **k))
    assert main(["evaluate", trained, "--limit", "17", "--batch-size", "5", "--backend", "numpy"]) == 0
    assert sizes == [5]


def test_the_normalisation_is_that_of_the_file(trained, capsys):
    mean, std = (0.1, 0.2, 0.3), (0.25, 0.5, 1.0)
    change_about(trained, mean=mean, std=std)
    assert main(["evaluate", trained, "--limit", "30", "--backend", "numpy"]) == 0
    data = shapes10("test", size=30)
    with fc.use_backend("numpy"):
        model = fc.models.lenet5()
        load_weights(model, trained)
        ((x, labels),) = DataLoader(data, 30, shuffle=False, mean=mean, std=std)
        loss, _ = fc.functional.softmax_cross_entropy(model(x), labels)
    assert f"loss {float(loss):.4f}, " in capsys.readouterr().out


def test_the_type_of_the_file_is_that_of_the_model(capsys, tmp_path):
    assert main(["train", *SMALL, "--dtype", "float64", "--output", "run"]) == 0
    history = history_of("run")
    capsys.readouterr()
    assert main(["evaluate", "run/weights.safetensors", "--limit", "60", "--backend", "numpy"]) == 0
    assert f"loss {history['val_loss'][-1]:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights_of_another_data_set_are_refused(trained, tmp_path, monkeypatch, capsys, command):
    write_cifar10(tmp_path / "data", monkeypatch)
    words = (command, trained, "--backend", "numpy")
    error = fails(capsys, *words, "--dataset", "cifar10", "--data-dir", "data")
    assert "--dataset: got cifar10 for run/weights.safetensors, weights of another dataset; allowed: shapes10" in error
    change_about(trained, dataset="imagenet")
    assert "--dataset: got imagenet, named by run/weights.safetensors; allowed: " in fails(capsys, *words)
    change_about(trained, dataset=None)
    assert "--dataset: got none, and run/weights.safetensors names none" in fails(capsys, *words)
    assert main([*words, "--dataset", "shapes10", "--limit", "10"]) == 0


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_weights_of_another_model_are_refused(trained, capsys, command):
    words = (command, trained, "--backend", "numpy")
    assert "weights of another model; allowed: lenet5" in fails(capsys, *words, "--model", "mlp")
    change_about(trained, model=None)
    assert "--model: got none" in fails(capsys, *words)
    assert "another model" in fails(capsys, *words, "--model", "mlp")
    assert main([*words, "--model", "lenet5", "--limit", "10"]) == 0


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_weights_say_of_themselves_is_checked(trained, capsys, command):
    words = (command, trained, "--backend", "numpy")
    change_about(trained, class_names=5)
    assert "path: got 'run/weights.safetensors', whose metadata has class_names 5; allowed: " in fails(capsys, *words)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_give_nothing_finite_are_refused(trained, capsys, command, value):
    tensors, manifest = read_tensors(trained, kind="weights")
    tensors = {name: np.full_like(tensor, value) for name, tensor in tensors.items()}
    write_tensors(trained, tensors, {"kind": "weights", "about": manifest["about"]})
    with np.errstate(all="ignore"):
        error = fails(capsys, command, trained, "--limit", "10", "--backend", "numpy")
    assert "weights: got an output that is not finite for 10 of 10 images; allowed: " in error


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_damaged_weights_are_refused(trained, tmp_path, capsys, command):
    path = tmp_path / trained
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert "damaged" in fails(capsys, command, trained, "--backend", "numpy")
    path.write_bytes(data[:-10])
    assert "weights.safetensors" in fails(capsys, command, trained, "--backend", "numpy")
