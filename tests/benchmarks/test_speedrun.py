"""The recipe of the 94 % net: its parts, a few steps of it, and the files it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from benchmarks import report, speedrun, torch_airbench

CIFAR10 = Path(__file__).resolve().parents[3] / "shared" / "cifar10"


@pytest.fixture(scope="module")
def data():
    return fc.data.shapes10("train", size=60)


@pytest.fixture(scope="module")
def trainer(data):
    with fc.use_backend("numba"):
        yield speedrun.make_trainer(data, 3, 4, 1)


def test_rates_and_decays_are_those_of_the_recipe(trainer):
    """Of Muon, the first bias, the others and the head: from their first rate to zero along a line."""
    optimizer = trainer.optimizer
    names = [[parameter.name for parameter in group.parameters] for group in optimizer.groups]
    assert names[1] == ["0.bias"]
    assert names[3] == ["25.weight"]
    assert len(names[0]) == len(names[2]) == 6
    optimizer.steps = 0
    assert optimizer.rates() == pytest.approx([0.24, 0.053, 0.053, 0.67])
    optimizer.steps = 9  # the end of the third epoch
    assert optimizer.rates() == pytest.approx([0.06, 0.0, 0.053 / 4, 0.67 / 4])
    optimizer.steps = 0
    decays = [group.own["weight_decay"] for group in optimizer.groups[1:]]
    assert decays == pytest.approx([0.004 / 0.053, 0.004 / 0.053, 0.004 / 0.67])
    assert {parameter for names_of in names for parameter in names_of} | {"0.weight"} == {
        parameter.name for parameter in trainer.model.parameters()
    }


def test_the_first_layer_whitens(trainer, data):
    """What its filters make of the patches has the unit matrix as its covariance, negatives aside; it is frozen."""
    images, _ = next(iter(fc.data.DataLoader(data, len(data), shuffle=False)))
    first = trainer.model.layers[0]
    assert [p.name for p in trainer.model.parameters() if p.is_frozen] == ["0.weight"]
    out = fc.to_numpy(first(images)).reshape(-1, 24).astype(np.float64)
    np.testing.assert_allclose(out[:, 12:], -out[:, :12], atol=1e-4)
    covariance = out[:, :12].T @ out[:, :12] / len(out)
    values = fc.data.whitening(fc.to_numpy(images)).eigenvalues
    np.testing.assert_allclose(covariance, np.diag(values / (values + 5e-4)), atol=1e-3)


def test_views_are_six_and_count_as_one():
    images = np.arange(2 * 4 * 4 * 1, dtype=np.uint8).reshape(2, 4, 4, 1)
    found = list(speedrun.views(images))
    assert len(found) == 6
    assert sum(share for _, share in found) == 1
    assert sum(share for _, share in found[:2]) == 0.5
    np.testing.assert_array_equal(found[0][0], images)
    np.testing.assert_array_equal(found[1][0], images[:, :, ::-1])
    np.testing.assert_array_equal(found[2][0][0, :, :, 0], [[5, 4, 5, 6], [1, 0, 1, 2], [5, 4, 5, 6], [9, 8, 9, 10]])
    np.testing.assert_array_equal(found[4][0][:, :3, :3], images[:, 1:, 1:])


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--epochs", "0"], ["--epochs", "-1"]])
def test_a_speedrun_of_nothing_is_refused_before_anything_is_read(monkeypatch, capsys, wrong):
    monkeypatch.setattr("sys.argv", ["speedrun", "--data-dir", "nowhere", *wrong])
    with pytest.raises(SystemExit):
        speedrun.main()
    assert "--epochs and --steps are at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_few_epochs_are_captured_and_learn(data, tmp_path, monkeypatch):
    """The bias of the first layer stops after its epochs, and the step is captured anew."""
    monkeypatch.setattr(speedrun, "BIAS_EPOCHS", 1)
    made, biases = [], []
    real = speedrun.make_trainer
    monkeypatch.setattr(speedrun, "make_trainer", lambda *a: made.append(real(*a)) or made[-1])
    evaluated = speedrun.accuracy

    def accuracy(model, test, *, augmented):
        biases.append(fc.to_numpy(model.layers[0].bias.data).copy())
        return evaluated(model, test, augmented=augmented)

    monkeypatch.setattr(speedrun, "accuracy", accuracy)
    with fc.use_backend("numba"):
        found = speedrun.speedrun(data, data.take(slice(0, 20)), 3, 0, 20)
    trainer = made[0]
    assert trainer._captured is not None
    assert trainer._captured.works
    assert trainer.step == 9
    assert biases[0].any()
    np.testing.assert_array_equal(biases[0], biases[2])
    losses = trainer.history.history["loss"]
    assert losses[2] < losses[0]
    assert found["tsv"][0] == "epoch\thours\ttop1Accuracy"
    hours = [float(row.split("\t")[1]) for row in found["tsv"][1:]]
    assert hours == sorted(hours)
    assert float(found["tsv"][3].split("\t")[2]) == pytest.approx(found["top1Accuracy"], abs=0.01)
    about = {"secondsCompiling": 1.0, "load": 1.0, "date": "D", "environment": {"threads": 2, "facts": {"name": "C"}}}
    path, recipe = tmp_path / "speedrun-default.json", {"epochs": 3, "precision": "default"}
    for seed in (1, 0, 1):
        speedrun.report_to(path, recipe, {"seed": seed, **found, **about})
    written = json.loads(path.read_text())
    assert [run["seed"] for run in written["runs"]] == [0, 1]
    assert written["mean"]["seconds"] == pytest.approx(found["seconds"])
    assert "mean of 2" in report.speedruns([path])
    speedrun.report_to(path, {**recipe, "epochs": 4}, {"seed": 5, **found, **about})
    assert [run["seed"] for run in json.loads(path.read_text())["runs"]] == [5]


@pytest.mark.slow
def test_real_images_are_learned_from(tmp_path, monkeypatch):
    """20 steps of 500 of them, from chance to above a third."""
    if not CIFAR10.exists():
        pytest.skip("needs ../shared/cifar10")
    import subprocess
    import sys

    subprocess.run([sys.executable, CIFAR10 / "unpack.py", tmp_path], check=True, capture_output=True)
    train, test = (fc.data.cifar10(tmp_path, part).take(slice(0, 2000)) for part in ("train", "test"))
    with fc.use_backend("numba"):
        found = speedrun.speedrun(train, test.take(slice(0, 500)), 5, 0, 500)
    assert found["top1AccuracyTTA"] > 33


@pytest.mark.peer
def test_its_steps_are_those_of_pytorch(data):
    """Losses of three steps, up to what float32 and Winograd round."""
    torch = pytest.importorskip("torch")
    with fc.use_backend("numba"), fc.precision("strict"):
        trainer = speedrun.make_trainer(data, 100, 4, 1)  # rates fall by 1 % in the first steps
        x, y = next(iter(fc.data.DataLoader(data, 60, shuffle=False)))
        step = torch_airbench.make_step(torch, trainer.model, x, y, "contiguous_format", bf16=False)
        ours, theirs = [], []
        for _ in range(3):
            theirs.append(step())
            ours.append(float(trainer.train_step(x, y)))
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert theirs[2] < theirs[0]


def test_what_it_cannot_do_is_told(data, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["speedrun", "--data-dir", str(tmp_path), "--precision", "half"])
    with pytest.raises(SystemExit):
        speedrun.main()
    assert "invalid choice: 'half'" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["speedrun", "--data-dir", str(tmp_path)])
    with pytest.raises(fc.errors.DataError):
        speedrun.main()
