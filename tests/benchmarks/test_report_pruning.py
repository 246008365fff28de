"""The table of pruning results."""

import json

from benchmarks.pruning import settings_of, store
from benchmarks.report_pruning import pruning


def test_published_and_ours_stand_side_by_side(tmp_path):
    path, settings = tmp_path / "pruning.json", settings_of(["--data-dir", "here"], {"here": "DIR"}, "default")
    runs = [(0.9, 0, 200, 0.5), (0.0, 0, 100, 0.7), (0.0, 1, 100, 0.74), (0.9, 0, 200, 0.8), (0.6, 0, 100, 0.75)]
    for sparsity, seed, steps, accuracy in runs:
        curve = {"accuracy": [0.1, accuracy]}
        store({"sparsity": sparsity, "seed": seed, "steps": steps, "curve": curve}, settings, path)
    assert len(json.loads(path.read_text())["runs"]) == 4  # one was done again
    head, _, place, _, *table = pruning(path).splitlines()
    assert head.endswith("two cells open; raw: `benchmarks/results/pruning.json`.")
    assert place.startswith("- 0% (seed 0), 0% (seed 1), 60% (seed 0), 90% (seed 0): ")
    assert f"{settings['environment']['facts']['name']}, {settings['date']}, " in place
    assert place.endswith('"default"; `python -m benchmarks.pruning --data-dir DIR`.')
    assert table == [
        "| zeros | published, 150,000 steps | ours, 100 steps | ours, 200 steps |",
        "|---|---|---|---|",
        "| 0% | 86% | 72.00% ± 2.83% (2 seeds) |  |",
        "| 60% |  | 75.00% (1 seed) |  |",
        "| 90% | TODO |  | 80.00% (1 seed) |",
    ]
