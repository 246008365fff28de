"""The command `fastconv`, as its user sees it: output, files, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from fastconv import nn, random
from fastconv.cli import main
from fastconv.cli.choices import DATASETS, EPOCHS, MODELS, RECIPES
from fastconv.data import shapes10

SMALL = ("--model", "lenet5", "--limit", "60", "--epochs", "2", "--batch-size", "20", "--backend", "numpy")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    monkeypatch.setattr(random, "_default", random._default)


@pytest.fixture
def trained(tmp_path, capsys):
    """Weights of a small run."""
    assert main(["train", *SMALL, "--output", "run"]) == 0
    capsys.readouterr()
    return "run/weights.safetensors"


def fails(capsys, *arguments):
    """Run a command that must fail on its input, and return its line on stderr."""
    assert main([str(part) for part in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def weights_of(folder):
    """Bytes of all tensors of a run; the file's own bytes vary, as its metadata has no order."""
    return {name: array.tobytes() for name, array in load_file(f"{folder}/weights.safetensors").items()}


def test_train_shows_progress_and_writes_files(tmp_path, capsys):
    assert main(["train", *SMALL]) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "runs" / "shapes10-lenet5"
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "history.json", "checkpoint.safetensors"}
    for path in ("weights.safetensors", "history.json"):
        assert f"runs/shapes10-lenet5/{path}" in out
    assert "fastconv train --dataset cifar10 --data-dir DIR" in out
    assert "test accuracy" in out
    lines = err.splitlines()
    assert len(lines) == 2
    for word in ("epoch 2/2", "loss", "accuracy", "val_accuracy", " s ", "images/s"):
        assert word in lines[1]
    history = json.loads((folder / "history.json").read_text())
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= history.keys()
    assert {len(values) for values in history.values()} == {2}


def test_log_has_no_control_characters(capsys):
    assert main(["train", *SMALL]) == 0
    assert main(["info", "--backend", "numpy"]) == 0
    out, err = capsys.readouterr()
    assert all(character.isprintable() or character == "\n" for character in out + err)


def test_train_same_seed_same_weights(tmp_path):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert main(["train", *SMALL, "--augment", "--seed", seed, "--output", name]) == 0
    a, b, c = (weights_of(name) for name in "abc")
    assert a == b
    assert a != c


def test_train_resumes_with_the_same_bits(tmp_path, capsys, monkeypatch):
    assert main(["train", *SMALL, "--augment", "--output", "whole"]) == 0

    from fastconv.cli.train import _Save

    save = _Save.on_epoch_end

    def save_and_stop(self, trainer, logs):
        save(self, trainer, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Save, "on_epoch_end", save_and_stop)
    assert main(["train", *SMALL, "--augment", "--output", "parts"]) == 130
    monkeypatch.setattr(_Save, "on_epoch_end", save)
    assert main(["train", *SMALL, "--augment", "--output", "parts", "--resume"]) == 0
    assert "after epoch 1" in capsys.readouterr().out
    assert weights_of("parts") == weights_of("whole")


@pytest.mark.parametrize(
    "options",
    [
        ("--optimizer", "sgd", "--lr", "0.05", "--schedule", "step", "--weight-decay", "1e-4"),
        ("--schedule", "cosine", "--label-smoothing", "0.1"),
        ("--schedule", "constant", "--dtype", "float64", "--precision", "strict", "--threads", "1"),
    ],
)
def test_train_takes_the_options_of_a_recipe(options, capsys):
    assert main(["train", *SMALL, *options]) == 0
    weights = "runs/shapes10-lenet5/weights.safetensors"
    assert main(["evaluate", weights, "--limit", "10", "--backend", "numpy"]) == 0


def test_evaluate_agrees_with_the_training(trained, tmp_path, capsys):
    assert main(["evaluate", trained, "--limit", "60", "--backend", "numpy"]) == 0
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    out = capsys.readouterr().out
    assert f"accuracy {history['val_accuracy'][-1]:.2%}" in out
    assert f"loss {history['val_loss'][-1]:.4f}" in out


def test_predict_names_classes(trained, capsys):
    assert main(["predict", trained, "--index", "3", "12", "--top", "2", "--backend", "numpy"]) == 0
    _, third, twelfth = capsys.readouterr().out.splitlines()
    assert third.split()[:2] == ["3", "triangle"]
    assert twelfth.split()[:2] == ["12", "square"]
    assert third.count("%") == 2


def test_predict_reads_images(trained, tmp_path, capsys):
    np.save("images.npy", shapes10("test", size=3).images)
    assert main(["predict", trained, "--images", "images.npy", "--top", "10", "--backend", "numpy"]) == 0
    from_file = [line.split(maxsplit=1)[1].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert main(["predict", trained, "--index", "0", "1", "2", "--top", "10", "--backend", "numpy"]) == 0
    from_set = [line.split(maxsplit=2)[2].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert from_file == from_set
    shares = [float(word.rstrip("%,")) for word in from_file[0].split() if "%" in word]
    assert len(shares) == 10
    assert abs(sum(shares) - 100) < 1


def test_explain_prints_kernels(capsys):
    assert main(["explain", "lenet5", "--batch-size", "2"]) == 0
    out = capsys.readouterr().out
    assert "input (2, 32, 32, 3)" in out
    assert "forward direct: 3 channels are fewer than 16" in out
    assert "conv2d_direct" in out


@pytest.mark.slow
def test_warmup_fills_the_cache_so_that_a_new_process_compiles_nothing(tmp_path):
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "fastconv", "warmup", "mlp", "--batch-size", "4"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert re.fullmatch(r"mlp: ready after \d+\.\d s\n", first.stdout)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")}
    assert kept
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=300)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")} == kept


def test_summary_prints_layers(capsys):
    assert main(["summary", "keras_cnn"]) == 0
    assert "1,250,858" in capsys.readouterr().out


def test_info_prints_what_is_there(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", "/nowhere/at/all")
    assert main(["info", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    for words in (np.__version__, "/nowhere/at/all (not there)", "cuda-emulator", "unusable: ", "threads"):
        assert words in out


def test_info_works_when_the_backend_does_not(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "abacus")
    monkeypatch.setattr("fastconv.backends._default", None)
    assert main(["info"]) == 0
    assert "FASTCONV_BACKEND: got 'abacus'" in capsys.readouterr().out


def test_gradcheck_passes_on_numpy(capsys):
    assert main(["gradcheck", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert "passed on numpy" in out
    assert "FAILED" not in out


def test_gradcheck_fails_on_a_wrong_gradient(capsys, monkeypatch):
    right = nn.SiLU.backward
    monkeypatch.setattr(
        nn.SiLU, "backward", lambda self, grad, context, **rest: right(self, grad, context, **rest) * 1.001
    )
    assert main(["gradcheck", "--backend", "numpy"]) == 1
    out = capsys.readouterr().out
    assert "2 of" in out  # the layer, and the network that has one
    assert "SiLU" in next(line for line in out.splitlines() if line.endswith("small network"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "--dataset", "cifar10", "--data-dir", "nowhere", "--backend", "numpy"),
            ("nowhere", "kriz/cifar.html"),
        ),
        (("train", "--backend", "abacus"), ("backend: got 'abacus'; allowed: numba",)),
        (("train", *SMALL, "--data-dir", "x"), ("--data-dir", "allowed: ")),
        (("train", *SMALL, "--optimizer", "sgd"), ("--lr", "allowed: ")),
        (("train", *SMALL, "--output", "/dev/null/run"), ("--output: got /dev/null/run", "allowed: ")),
        (("train", *SMALL, "--seed", "-1"), ("seed: got -1", "allowed: ")),
        (("train", *SMALL, "--label-smoothing", "1"), ("label_smoothing: got 1", "allowed: ")),
        (("train", *SMALL, "--precision", "fast"), ("fast", "numpy")),
        (("train", *SMALL, "--algorithm", "tuned"), ("algorithm: got 'tuned'", "numpy", "allowed: shapes")),
        (("train", *SMALL, "--resume"), ("checkpoint.safetensors", "allowed: ")),
        (("evaluate", "nothing.safetensors", "--backend", "numpy"), ("nothing.safetensors", "allowed: ")),
        (("predict", "nothing.safetensors", "--backend", "numpy"), ("nothing.safetensors", "allowed: ")),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, words):
    error = fails(capsys, *arguments)
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("train", "--dataset", "imagenet"),
        ("train", "--model", "vgg"),
        ("train", "--epochs", "0"),
        ("train", "--lr", "nan"),
        ("summary", "resnet20", "--input-shape", "0", "1", "2"),
        ("predict",),
    ],
)
def test_unknown_words_are_refused_with_the_choices(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_damaged_weights_are_refused(trained, tmp_path, capsys):
    path = tmp_path / trained
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert "damaged" in fails(capsys, "evaluate", trained, "--backend", "numpy")
    path.write_bytes(data[:-10])
    assert "weights.safetensors" in fails(capsys, "predict", trained, "--backend", "numpy")


def test_weights_of_another_model_are_refused(trained, capsys):
    error = fails(capsys, "evaluate", trained, "--model", "mlp", "--backend", "numpy")
    assert "another model" in error


def test_predict_refuses_other_files(trained, tmp_path, capsys):
    np.save("floats.npy", np.zeros((2, 32, 32, 3), np.float32))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez("archive.npz", a=np.zeros(3))
    for name in ("floats.npy", "objects.npy", "archive.npz", "missing.npy", trained):
        error = fails(capsys, "predict", trained, "--images", name, "--backend", "numpy")
        assert name in error
        assert "allowed: " in error
    assert "--index: got 2000" in fails(capsys, "predict", trained, "--index", "2000", "--backend", "numpy")


def test_every_choice_has_its_recipe():
    from fastconv import models

    assert set(MODELS) == set(RECIPES) == set(models.__all__)
    assert set(DATASETS) == set(EPOCHS)


def test_interrupt_ends_with_130_and_intact_files(tmp_path):
    """A real SIGINT: the files of the last whole epoch are there and can be read."""
    arguments = [*SMALL[:-1], "numpy", "--epochs", "100000", "--output", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv", "train", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "checkpoint.safetensors").exists() and process.poll() is None:
            assert time.monotonic() < deadline, "no epoch ended"
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    assert "Traceback" not in error
    assert main(["evaluate", "run/weights.safetensors", "--limit", "20", "--backend", "numpy"]) == 0


@pytest.mark.slow
def test_train_without_arguments_learns_shapes10(tmp_path, capsys):
    """The README's first command: a small CNN passes 95 % where a linear model stays below 60."""
    assert main(["train", "--backend", "numba"]) == 0
    history = json.loads((tmp_path / "runs" / "shapes10-keras_cnn" / "history.json").read_text())
    assert history["val_accuracy"][-1] > 0.95
