"""The figures of the README are those of the raw results."""

from __future__ import annotations

import re

from benchmarks.report import HERE
from benchmarks.report_readme import CLAIMS, DIRECT, WINOGRAD, _cell, cifar, measured, ratios
from docs.marked import ROOT, part


def test_the_readme_holds_what_the_script_makes() -> None:
    assert part(ROOT / "README.md", "measured") == measured(HERE / "results"), "run: python -m benchmarks.report"


def test_ratios_come_in_the_order_of_the_names_and_those_not_run_are_left_out() -> None:
    rows = [{"name": f"bench_step[{name}]", "extra_info": {"ratio": ratio}} for name, ratio in (("a", 2.0), ("b", 0.5))]
    report = {"benchmarks": [*rows, {"name": "bench_step[c]", "extra_info": {}}]}
    assert ratios(report, ["step[b]", "step[c]", "step[a]", "step[d]"], "ratio") == [0.5, 2.0]


def test_a_range_shows_the_worst() -> None:
    assert _cell([2.0, 0.5, 1.0], as_range=True) == "0.50 to 2.00"
    assert _cell([2.0, 0.5], as_range=False) == "2.00, 0.50"
    assert _cell([], as_range=True) == "not run"


def test_the_time_to_94_percent_is_that_of_the_seed_that_ran_alone_with_what_gave_the_accuracy() -> None:
    summary = {"accuracy_mean": 0.7, "seconds_per_epoch": 8.0}
    training = {"fastconv_summary": summary, "torch_summary": summary, "runs": [{"fastconv": {"loss": [2.0, 1.0]}}]}
    runs = [
        {"seed": 3, "load": 9.0, "seconds": 60.0, "secondsTTA": 120.0},
        {"seed": 4, "load": 2.1, "seconds": 600.0, "secondsTTA": 660.0},
    ]
    mean = {"top1Accuracy": 93.44, "top1AccuracyTTA": 94.28}
    text = cifar(
        training,
        {"runs": runs, "recipe": {"epochs": 9}, "mean": mean},
        {"median": {"fastconv": 2.0, "a": 6.0, "b": 5.0}},
    )
    assert (
        "mean of 2 seeds: 94.3% with test-time augmentation, 93.4% without; seed 4, alone on two cores of Cascade Lake,"
        " took 11 minutes with it; a step is 2.5 times as fast as PyTorch's."
    ) in text.replace("\n", " ")


def test_a_claim_names_the_layers_it_is_of() -> None:
    (claim, *_), (other, *_) = CLAIMS[:2]
    (few, large), (many, small) = (re.findall(r"\d+", layer)[1:] for layer in (WINOGRAD[0], WINOGRAD[-1]))
    assert claim == f"3x3 convolutions, {few} channels at {large}x{large} to {many} at {small}x{small}, and gradients"
    assert [layer.split("_")[0] for layer in DIRECT] == ["stride2", "1x1", "depthwise"]
    assert other.startswith("3x3 of stride 2, 1x1 and depthwise ")
