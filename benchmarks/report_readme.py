"""The part of README.md about speed: one row for each claim, from the raw results."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

MACHINES = {
    "cpu-epyc-zen5": "AMD EPYC, Zen 5",
    "cpu-epyc-zen4": "AMD EPYC, Zen 4",
    "cpu-xeon": "Intel Xeon, AMX",
}
MODELS = ("keras_cnn", "resnet20", "resnet9")
DIRECTIONS = ("forward", "backward_input", "backward_weight")
WINOGRAD = ("64_64_at_32", "128_128_at_16", "256_256_at_8", "512_512_at_4")
DIRECT = ("stride2_64_128_at_32", "1x1_256_64_at_16", "depthwise_128_at_16")


def _convolutions(layers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"conv2d[{direction}-{layer}]" for direction in DIRECTIONS for layer in layers)


# The claim, its benchmarks, which of their ratios, and whether the smallest and the largest stand for all of them.
CLAIMS = (
    (
        "3x3 convolutions, 64 channels at 32x32 to 512 at 4x4, and gradients",
        _convolutions(WINOGRAD),
        "torch_ratio",
        True,
    ),
    ("3x3 of stride 2, 1x1 and depthwise convolutions, and gradients", _convolutions(DIRECT), "torch_ratio", True),
    ("training step of keras_cnn, resnet20, resnet9", [f"train_step[{name}]" for name in MODELS], "torch_ratio", False),
    ("the same beside PyTorch in bfloat16", [f"train_step[{name}]" for name in MODELS], "bf16_ratio", False),
    ('the same, ours in `"fast"`', [f"train_step_fast[{name}]" for name in MODELS], "bf16_ratio", False),
    (
        "inference of resnet20 at batch 1, 8, 128, beside engines",
        [f"inference_resnet20[{batch}]" for batch in (1, 8, 128)],
        "engine_ratio",
        False,
    ),
)


def ratios(report: dict[str, Any], names: tuple[str, ...] | list[str], key: str) -> list[float]:
    """Return a ratio of some benchmarks of one file, in their order; empty where they were not run."""
    infos = {b["name"].removeprefix("bench_"): b["extra_info"] for b in report["benchmarks"]}
    return [infos[name][key] for name in names if key in infos.get(name, {})]


def _cell(values: list[float], as_range: bool) -> str:
    if not values:
        return "not run"
    if as_range:
        return f"{min(values):.2f} to {max(values):.2f}"
    return ", ".join(f"{value:.2f}" for value in values)


def processors(reports: dict[str, dict[str, Any]]) -> str:
    """Return the table of the CPUs: a row for each claim, a column for each machine."""
    days = {name: report["datetime"][:10] for name, report in reports.items()}
    rows = [
        "| " + " | ".join(["", *(f"{MACHINES[name]} ({days[name]})" for name in reports)]) + " |",
        "|---" * (len(reports) + 1) + "|",
    ]
    for claim, names, key, as_range in CLAIMS:
        cells = [_cell(ratios(report, names, key), as_range) for report in reports.values()]
        rows.append("| " + " | ".join([claim, *cells]) + " |")
    return "\n".join(rows)


def card(report: dict[str, Any]) -> str:
    """Return what a run on a GPU gives: training steps, and how many passes of single layers are faster."""
    rows = report["rows"]
    steps = {
        (row["model"], row["precision"]): row["ratio"]
        for row in rows
        if row["stage"] == "steps" and "medians" in row and row["batch"] == 512
    }
    passes = [row for row in rows if row["stage"] in ("ops", "more") and "medians" in row and "layer" in row]
    peers = [row["medians"][report.get("peer") or row["peer"]] / row["medians"]["fastconv graph"] for row in passes]

    def said(precision: str) -> str:
        found = [(model, steps[model, precision]) for model in MODELS if (model, precision) in steps]
        return ", ".join(f"{model} {ratio:.2f}" for model, ratio in found)

    return _paragraph(
        f"{report['device']} ({report['date']}): captured training steps at batch 512, beside PyTorch:"
        f' {said("default")} in TF32; {said("fast")} in `"fast"`;'
        f" {sum(ratio > 1 for ratio in peers)} of {len(peers)} passes of single convolutions beat cuDNN's."
    )


def cifar(report: dict[str, Any], speedrun: dict[str, Any], steps: dict[str, Any]) -> str:
    """Return what training on CIFAR-10 gave, ours and PyTorch's, a short one and one to 94 %."""
    ours, torch = (
        f"{summary['accuracy_mean']:.1%} at {summary['seconds_per_epoch']:.1f} s an epoch"
        for summary in (report["fastconv_summary"], report["torch_summary"])
    )
    epochs = len(report["runs"][0]["fastconv"]["loss"])
    alone = min(speedrun["runs"], key=lambda run: run["load"])  # the others ran beside other work
    step = steps["median"]
    ratio = min(seconds for name, seconds in step.items() if name != "fastconv") / step["fastconv"]
    return _paragraph(
        f"CIFAR-10, `keras_cnn`, {epochs} epochs, mean of {len(report['runs'])} seeds, Zen 5: test accuracy"
        f" {ours}; PyTorch {torch}. To 94 %, `airbench`, {speedrun['recipe']['epochs']} epochs, mean of"
        f" {len(speedrun['runs'])} seeds: {speedrun['mean']['top1AccuracyTTA']:.1f}% with test-time augmentation,"
        f" {speedrun['mean']['top1Accuracy']:.1f}% without; seed {alone['seed']}, alone on two cores of Cascade Lake,"
        f" took {alone['secondsTTA'] / 60:.0f} minutes with it; a step is {ratio:.1f} times as fast as PyTorch's."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 118, break_on_hyphens=False)


def measured(results: Path) -> str:
    """Return the part of the README that the raw results of a folder give."""
    reports = {name: json.loads((results / f"{name}.json").read_text()) for name in MACHINES}
    training = json.loads((results / "trained-keras_cnn.json").read_text())
    torch = training["runs"][0]["environment"]["versions"]["torch"]
    speedrun, steps = (json.loads((results / f"speedrun-default{what}.json").read_text()) for what in ("", "-steps"))
    parts = (
        f"Times of PyTorch {torch} divided by ours, on two shared cores: above 1 ours is faster. Batch 128, float32;\n"
        "PyTorch on as many threads, in its better layout and with its page faults tuned away. Engines: the faster of\n"
        "ONNX Runtime and OpenVINO. All layers, spreads and commands: [benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        processors(reports),
        cifar(training, speedrun, steps),
        card(json.loads((results / "gpu-h200.json").read_text())),
    )
    return "\n\n".join(parts)
