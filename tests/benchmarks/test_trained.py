"""Trainings on real images: what is stored of their seeds, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import trained
from benchmarks.report import training

TRAIN = "fastconv train --model resnet9"


def _run(seed: int, accuracy: float, *, machine: str = "zen4", torch: bool = False) -> dict[str, Any]:
    history = {"loss": [2.0, 1.0], "val_accuracy": [0.1, accuracy], "seconds": [9.0, 4.0 + seed]}
    versions = {"torch": "2.13"} if torch else {}
    return {
        "seed": seed,
        "date": "2026-11-29",
        "environment": {"versions": versions, "threads": 1 + seed, "facts": {"name": machine}},
        "command": "python -m benchmarks.trained",
        "fastconv": history,
        **({"torch": history} if torch else {}),
    }


def test_seeds_of_one_training_come_together(tmp_path: Path) -> None:
    path = tmp_path / "trained-resnet9.json"
    for seed, accuracy in ((2, 0.5), (0, 0.7), (2, 0.9)):  # the second seed 2 takes the place of the first
        stored = trained.store(_run(seed, accuracy), TRAIN, path)
    assert json.loads(path.read_text()) == stored
    assert [run["seed"] for run in stored["runs"]] == [0, 2]
    assert stored["fastconv_summary"]["accuracy_mean"] == (0.7 + 0.9) / 2
    assert stored["fastconv_summary"]["seconds_per_epoch"] == 5  # of 4 and 6: the first epoch compiles
    assert "torch_summary" not in stored


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    for path in (tmp_path / "new.json", *trained.RESULTS.glob("trained-*.json")):
        stored = json.loads(path.read_text()) if path.exists() else trained.store(_run(0, 0.7), TRAIN, path)
        for name, found in stored.items():
            if name.endswith("_summary"):
                one = sum(name.removesuffix("_summary") in run for run in stored["runs"]) == 1
                assert (found["accuracy_stdev"] is None) == one


def test_another_training_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "trained-resnet9.json"
    trained.store(_run(0, 0.7), TRAIN, path)
    stored = trained.store(_run(1, 0.9), TRAIN + " --lr 1", path)
    assert stored["train"] == TRAIN + " --lr 1"
    assert [run["seed"] for run in stored["runs"]] == [1]


def test_the_report_says_where_each_seed_ran(tmp_path: Path) -> None:
    path = tmp_path / "trained-resnet9.json"
    trained.store(_run(0, 0.7, torch=True), TRAIN, path)
    trained.store({**_run(1, 0.9, machine="haswell"), "remark": "Tests ran beside it."}, TRAIN, path)
    page = training(path)
    assert "- seed 0: 1 thread, zen4, 2026-11-29; `python -m benchmarks.trained`.\n" in page
    assert "- seed 1: 2 threads, haswell, 2026-11-29; `python -m benchmarks.trained`. Tests ran beside it.\n" in page
    assert "| fastconv | 80.00% | 14.14% |" in page
    assert "| PyTorch 2.13 | 70.00% | one seed |" in page
