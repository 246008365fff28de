"""The sweeps: every cell is a recipe, what is done is kept, and one small cell is trained."""

from __future__ import annotations

import json
import math
import shlex

import numpy as np
import pytest

import fastconv as fc
from benchmarks import sweeps
from fastconv.cli.parser import build_parser
from fastconv.cli.recipes import recipe_of
from fastconv.training.run_folder import RunFolder
from tests.data.files import idx


@pytest.mark.parametrize("cell", sweeps.CELLS)
def test_a_cell_is_a_recipe(cell):
    training = sweeps.training_of(cell, 100, 12)
    recipe = recipe_of(build_parser().parse_args(["train", *shlex.split(training.train)]))
    tables = recipe.tables
    assert (tables["run"]["epochs"], tables["data"]["limit"], tables["augmentation"]) == (12, 100, [])
    assert recipe.make_model((28, 28, 1), 10).parameters()
    assert not tables["optimizer"].get("nesterov") or cell == "Nesterov"


def test_every_place_of_a_sweep_has_a_cell_and_every_cell_a_place():
    places = [point for points in sweeps.SWEEPS.values() for point in points]
    assert {point.cell for point in places} == set(sweeps.CELLS)
    assert [len(points) for points in sweeps.SWEEPS.values()] == [5, 6, 3, 6]
    assert all(0.1 <= value < 1 for point in places for value in point.accuracy.values())


def test_the_stored_numbers_of_the_notebooks_are_those_of_the_table():
    stored = json.loads(sweeps.RESULT.read_text())["published"]
    assert stored == json.loads(json.dumps(sweeps.published()))
    told = {point["label"]: point["accuracy"] for point in stored["optimizer"]}
    assert told.pop("Nesterov, momentum 0.9") == {}  # the notebook has none
    assert {tuple(map(int, each)) for each in told.values()} == {sweeps.PUBLISHED_EPOCHS}
    assert [told["Adam"][epoch] for epoch in ("1", "8", "12")] == [0.9823, 0.9932, 0.9915]


def test_a_small_cell_is_trained_on_drawn_images(tmp_path, monkeypatch, rng):
    """Files of Fashion-MNIST's form in, a run folder and a cell out; with sigmoids, by the name in a recipe."""
    for part, count in (("train", 24), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    words = ["--data-dir", tmp_path, "--limit", 16, "--epochs", 1, "--result", tmp_path / "sweeps.json"]
    words += ["--runs", tmp_path, "--cells", "Sigmoid", "--seeds", 3]
    monkeypatch.setattr("sys.argv", ["sweeps", *map(str, words)])
    monkeypatch.setattr(fc, "set_backend", lambda name: None)
    with fc.use_backend("numpy"):
        sweeps.main()
    folder = RunFolder.open(tmp_path / "sweep-Sigmoid-3")
    assert folder.recipe.tables["model"]["activation"] == "Sigmoid"
    assert [type(layer) for layer in folder.load_model().layers].count(fc.nn.Sigmoid) == 3
    cell = json.loads((tmp_path / "sweeps.json").read_text())["cells"]["Sigmoid"]["3"]
    assert [len(cell[key]) for key in ("loss", "val_loss", "val_accuracy")] == [1, 1, 1]
    assert cell["loss"][0] == pytest.approx(folder.read_history().history["loss"][0], rel=1e-4)


def test_a_cell_is_trained_once_and_kept(tmp_path, monkeypatch, capsys):
    trained = []

    def train_ours(training, data_dir, folder, seed, precision):
        trained.append((folder.name, seed, data_dir))
        return {
            "loss": [2.25, math.nan],
            "val_loss": [2.0, math.inf],
            "val_accuracy": [0.25, 0.123456],
            "seconds": [1.0, 2.0],
        }

    monkeypatch.setattr(sweeps, "train_ours", train_ours)
    result = tmp_path / "sweeps.json"
    words = ["sweeps", "--data-dir", "there", "--limit", "50", "--epochs", "2", "--result", str(result)]
    words += ["--runs", str(tmp_path), "--cells", "base", "norm, 5x5", "--seeds"]
    for seeds in (["3"], ["3", "4"]):
        monkeypatch.setattr("sys.argv", [*words, *seeds])
        sweeps.main()
    assert trained == [
        (name, seed, "there") for seed in (3, 4) for name in (f"sweep-base-{seed}", f"sweep-norm-5x5-{seed}")
    ]
    found = json.loads(result.read_text())
    cell = {"loss": [2.25, None], "val_loss": [2.0, None], "val_accuracy": [0.25, 0.12346], "seconds": 3.0}
    assert found["cells"] == {name: {"3": cell, "4": cell} for name in ("base", "norm, 5x5")}
    assert found["published"]["learning rate"][4] == {
        "label": "50",
        "cell": "rate 50",
        "accuracy": {"12": 0.1028},
        "loss": {"12": 2.3023},
    }
    assert "--data-dir DIR --limit 50 --epochs 2 --result RESULT --runs RUNS" in found["command"]
    assert '"val_accuracy": [ 0.25, 0.12346 ]' in result.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps.json"]
    monkeypatch.setattr("sys.argv", [*words, "3", "--limit", "51"])
    with pytest.raises(SystemExit, match=r"sweeps.json: got cells of 50 images and 2 epochs; allowed: 51 and 2"):
        sweeps.main()
