"""The short trainings of all networks: each is a recipe, what is done is kept, another recipe's numbers go."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

import fastconv as fc
from benchmarks import architectures
from benchmarks.report import architectures as table
from fastconv.cli.parser import build_parser
from fastconv.cli.recipes import recipe_of


def test_what_is_stored_is_of_this_recipe_and_every_network() -> None:
    stored = json.loads(architectures.RESULT.read_text())
    assert stored["train"] == f"fastconv train {architectures.RECIPE}"
    assert tuple(stored["runs"]) == architectures.MODELS
    recipe = recipe_of(build_parser().parse_args(["train", *shlex.split(architectures.RECIPE)]))
    assert (recipe.tables["data"]["limit"], recipe.tables["run"]["epochs"]) == (3000, 1)


def test_a_network_is_trained_once_and_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def train_ours(training: Any, data_dir: str, folder: Any, seed: int, precision: str) -> dict[str, Any]:
        trained.append((folder.name, training.train.split()[:2], data_dir))
        return {"loss": [2.0], "val_accuracy": [0.25], "seconds": [3.0]}

    monkeypatch.setattr(architectures, "train_ours", train_ours)
    monkeypatch.setattr(fc, "set_backend", lambda name: None)
    result = tmp_path / "architectures.json"
    result.write_text(json.dumps({"train": "fastconv train --lr 9", "runs": {"resnet9": {"0": {}}}}))
    for models in (["vgg16"], ["vgg16", "lenet5"]):
        words = ["--data-dir", "there", "--result", str(result), "--runs", str(tmp_path), "--models", *models]
        monkeypatch.setattr("sys.argv", ["architectures", *words])
        architectures.main()
    assert trained == [(f"architecture-{name}-0", ["--model", name], "there") for name in ("vgg16", "lenet5")]
    found = json.loads(result.read_text())
    assert list(found["runs"]) == ["lenet5", "vgg16"]
    run = found["runs"]["vgg16"]["0"]
    assert (run["val_accuracy"], run["seconds"]) == ([0.25], 3.0)
    assert run["command"].endswith("--data-dir DIR --result RESULT --runs RUNS --models vgg16")
    assert "| vgg16 | 0 | 25.00% | 3 |" in table(result)
