r"""Write RESULTS.md, and the part of README.md about speed, from the raw results.

pytest benchmarks/ --benchmark-only --benchmark-json=benchmarks/results/cpu-NAME.json
pytest benchmarks/ -k "layer or optimizer or muon or augment or loss or clip or metric" --benchmark-only \
    --benchmark-json=benchmarks/results/rooms-NAME.json
python -m benchmarks.report
"""

import inspect
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report_gpu import gpu
from benchmarks.report_pruning import pruning
from benchmarks.report_readme import measured
from benchmarks.report_scale_out import scale_out
from docs.marked import ROOT, replace
from fastconv import models
from fastconv.models.architecture import FORMS

HERE = Path(__file__).parent
COLUMNS = (
    "benchmark",
    "ms",
    "spread",
    "GFLOP/s",
    "peak",
    "roofline",
    "GB/s",
    "error",
    "PyTorch / ours",
    "PyTorch / strict",
    "PyTorch bf16 / ours",
    "PyTorch bf16 / fast",
    "error of fast",
    "engine / ours",
    "ncnn / ours",
    "NumPy / ours",
)


def _cell(info: dict[str, Any], key: str, form: str) -> str:
    return format(info[key], form) if key in info else ""


def _row(benchmark: dict[str, Any]) -> str:
    info = benchmark["extra_info"]
    ratio = _cell(info, "torch_ratio", ".2f")
    cells = (
        f"`{benchmark['name'].removeprefix('bench_')}`",
        _cell(info, "milliseconds", ".3f"),
        _cell(info, "spread", ".0%"),
        _cell(info, "gflops", ".0f"),
        _cell(info, "share_of_peak", ".0%"),
        _cell(info, "roofline", ".0%"),
        _cell(info, "gbytes", ".1f"),
        _cell(info, "error", ".0e"),
        f"{ratio} ({info['torch_best'].removeprefix('torch ')})" if ratio else "",
        _cell(info, "strict_ratio", ".2f"),
        _cell(info, "bf16_ratio", ".2f"),
        _cell(info, "fast_ratio", ".2f"),
        _cell(info, "fast_error", ".0e"),
        f"{info['engine_ratio']:.2f} ({info['engine_best']})" if "engine_ratio" in info else "",
        _cell(info, "ncnn_ratio", ".2f"),
        _cell(info, "numpy_ratio", ".1f"),
    )
    return "| " + " | ".join(cells) + " |"


def kernels(path: Path) -> str:
    """Return the table of one file of pytest-benchmark."""
    report = json.loads(path.read_text())
    cpu = report["machine_info"]["cpu"]
    timed = [each for each in report["benchmarks"] if "milliseconds" in each["extra_info"]]
    rows = [_row(each) for each in timed if "macs" not in each["extra_info"]]
    peak = next((b["extra_info"]["peak"] for b in report["benchmarks"] if "peak" in b["extra_info"]), None)
    when = f"{report['datetime'][:10]}, commit {report['commit_info']['id'][:7]}"
    lines = [
        f"{cpu.get('brand_raw', 'CPU')}, {cpu.get('count')} cores"
        + (f", {peak / 1e9:.0f} GFLOP/s in float32 measured" if peak else "")
        + f"; {when}; raw: `benchmarks/results/{path.name}`.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *rows,
        *_activations([each for each in timed if "beside_relu" in each["extra_info"]]),
        *_models([each for each in timed if "macs" in each["extra_info"]]),
    ]
    return "\n".join(lines)


def _activations(timed: list[dict[str, Any]]) -> list[str]:
    """Return the table of what nets with an activation take beside the same ones with ReLU."""
    if not timed:
        return []
    rows = [
        f"| `{each['name'].removeprefix('bench_')}` | {each['extra_info']['beside_relu']:.2f}"
        f" | {each['extra_info']['spread']:.0%} |"
        for each in timed
    ]
    return [
        "",
        "Activations, beside the same net with ReLU:",
        "",
        "| net | time / with ReLU | spread |",
        "|---|--:|--:|",
        *rows,
    ]


def _models(timed: list[dict[str, Any]]) -> list[str]:
    """Return the table of bench_models.py: a line for each model, its training step and its inference."""
    if not timed:
        return []
    steps, inference = (
        {each["extra_info"]["model"]: each["extra_info"] for each in timed if f"_{what}[" in each["name"]}
        for what in ("step", "inference")
    )
    lines = [
        "",
        f"All models, {timed[0]['extra_info']['batch']} images of the size that each is made for: {_sizes(steps)}."
        " PyTorch is the same network with the same weights, in channels_last alone, and had 5 rounds:",
        "",
        "| model | parameters | MACs an image | step, ms | spread | PyTorch / ours"
        " | inference, ms | spread | PyTorch / ours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, step in steps.items():
        cells = [name, f"{step['parameters']:,}", f"{step['macs']:,}"]
        for each in (step, inference[name]):
            cells += [f"{each['milliseconds']:.2f}", _cell(each, "spread", ".0%"), _cell(each, "torch_ratio", ".2f")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _sizes(names: Iterable[str]) -> str:
    """Return the sizes of images that models are made for: the most frequent one, and which have another."""
    shapes = {name: inspect.signature(getattr(models, name)).parameters["input_shape"].default for name in names}
    sizes = {name: "x".join(map(str, shape or FORMS["cifar"])) for name, shape in shapes.items()}
    usual = statistics.mode(sizes.values())
    others = [f"{size} of {name}" for name, size in sizes.items() if size != usual]
    return usual + (f", but {' and '.join(others)}" if others else "")


def training(path: Path) -> str:
    """Return the lines of one run of benchmarks/trained.py."""
    report = json.loads(path.read_text())
    places: dict[tuple[str, ...], list[int]] = {}  # seeds by all else that is said of their runs
    for run in report["runs"]:
        where = run["environment"]
        threads, remark = where["threads"], run.get("remark", "")
        said = (f"{threads} thread{'s' * (threads != 1)}", where["facts"]["name"], run["date"], run["command"], remark)
        places.setdefault(said, []).append(run["seed"])
    lines = [f"`{report['train']}`; raw: `benchmarks/results/{path.name}`.", ""]
    for (*facts, command, remark), seeds in places.items():
        named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        lines.append(f"- {named}: {', '.join(facts)}; `{command}`. {remark}".rstrip())
    versions = sorted({run["environment"]["versions"]["torch"] for run in report["runs"] if "torch" in run})
    lines += [
        "",
        "| | test accuracy, mean | standard deviation | seconds an epoch, median | seconds in all, median |",
        "|---|---|---|---|---|",
    ]
    for name, title in (
        ("fastconv", "fastconv"),
        ("fastconv_strict", 'fastconv, "strict"'),
        ("fastconv_fast", 'fastconv, "fast"'),
        ("torch", f"PyTorch {', '.join(versions)}"),
    ):
        summary = report.get(f"{name}_summary")
        if summary:
            deviation = summary["accuracy_stdev"]
            lines.append(
                f"| {title} | {summary['accuracy_mean']:.2%}"
                f" | {'one seed' if deviation is None else f'{deviation:.2%}'}"
                f" | {summary['seconds_per_epoch']:.1f} | {summary['seconds']:.0f} |"
            )
    return "\n".join(lines)


def speedruns(paths: Sequence[Path]) -> str:
    """Return the table of the runs of benchmarks/speedrun.py, and those of its steps."""
    lines = [
        "The network `airbench` by the recipe of airbench94_muon, from nothing (`benchmarks/speedrun.py`). Seconds are"
        " those of training and the last evaluation, as DAWNBench counts them; of compiled kernels, the evaluation"
        " after other epochs left out. With test-time augmentation (TTA) the last evaluation is of six views. The best"
        " of DAWNBench's entries on CPUs took 286,014 s on 16 vCPUs (a ResNet-164, PyTorch 0.1.12;"
        " https://github.com/stanford-futuredata/dawn-bench-entries).",
        "",
        "| seed | precision | epochs | accuracy | with TTA | seconds | with TTA | compiling | load | machine |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    steps, raw = [], ", ".join(f"`benchmarks/results/{path.name}`" for path in paths)
    for path in paths:
        report = json.loads(path.read_text())
        if "runs" not in report:
            steps.append(_speedrun_steps(report))
            continue
        recipe, mean = report["recipe"], report["mean"]
        for run in report["runs"]:
            where = run["environment"]
            lines.append(
                f"| {run['seed']} | {recipe['precision']} | {recipe['epochs']} | {run['top1Accuracy']:.2f} %"
                f" | {run['top1AccuracyTTA']:.2f} % | {run['seconds']:.0f} | {run['secondsTTA']:.0f}"
                f" | {run['secondsCompiling']:.0f} | {run['load']:.1f}"
                f" | {where['facts']['name']}, {where['threads']} threads, {run['date']} |"
            )
        lines.append(
            f"| mean of {len(report['runs'])} | | | **{mean['top1Accuracy']:.2f} %**"
            f" | **{mean['top1AccuracyTTA']:.2f} %** | {mean['seconds']:.0f} | {mean['secondsTTA']:.0f} | | | |"
        )
    return "\n".join([*lines, "", *steps, f"Load is the mean number of processes that ran or waited; raw: {raw}."])


def _speedrun_steps(report: dict[str, Any]) -> str:
    median, where = report["median"], report["environment"]
    peers = ", ".join(f"{name.replace('_', ' ')} {seconds:.2f} s" for name, seconds in median.items())
    return (
        f"A step of {report['batch']} images in {report['precision']!r}, median of {report['steps']} in turn:"
        f" {peers}; PyTorch {report['torch']}; {where['facts']['name']}, {where['threads']} threads, {report['date']};"
        f" `{report['command']}`."
    )


def sweeps(path: Path) -> str:
    """Return the table of benchmarks/sweeps.py: the notebooks' numbers beside ours."""
    report = json.loads(path.read_text())
    where, last = report["environment"], str(report["epochs"])
    lines = [
        f"`{report['command']}`: {report['limit']:,} images an epoch of Fashion-MNIST, {last} epochs;"
        f" {where['facts']['name']}, {report['date']}; raw: `benchmarks/results/{path.name}`."
        f" Published: {report['published']['source']}. Another data set, so compare the order, not the numbers.",
        "",
        "| sweep | | published, MNIST | ours, Fashion-MNIST: mean | from | to | seeds |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for sweep, points in report["published"].items():
        for point in points if sweep != "source" else ():
            found = [seed["val_accuracy"][-1] for seed in report["cells"].get(point["cell"], {}).values()]
            ours = [f"{each:.2%}" for each in (statistics.fmean(found), min(found), max(found))] if found else [""] * 3
            published = f"{point['accuracy'][last]:.2%}" if point["accuracy"] else ""
            cells = (sweep, point["label"], published, *ours, str(len(found)))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def architectures(path: Path) -> str:
    """Return the table of benchmarks/architectures.py: a short training of each network."""
    report = json.loads(path.read_text())
    lines = [
        f"`{report['train']}`, with `--model` and the name of each; raw: `benchmarks/results/{path.name}`. Other work"
        " ran beside it, so the seconds are no speed.",
        "",
        "| model | seed | test accuracy | seconds | machine | |",
        "|---|--:|--:|--:|---|---|",
    ]
    for name, runs in report["runs"].items():
        for seed, run in runs.items():
            cells = (name, seed, f"{run['val_accuracy'][-1]:.2%}", f"{run['seconds']:.0f}", run["machine"])
            lines.append(f"| {' | '.join(cells)}, {run['date']} | `{run['command']}` |")
    return "\n".join(lines)


def results() -> str:
    """Return the text of RESULTS.md."""
    parts = [
        "# Results",
        "Made by `python -m benchmarks.report` from the raw files in `benchmarks/results/`.",
        "Those of CPUs are of `pytest benchmarks/ --benchmark-only --benchmark-json=FILE`."
        " Times are medians of 15 rounds in which ours and each peer ran, one after the other, on a shared machine:"
        " look at the ratios, not at the milliseconds. Spread is the interquartile range by the median. PyTorch is"
        " timed in both layouts with its page faults tuned away, and the better one is the peer (but for the tables of"
        " all models); ours includes weight"
        " preparation and the allocation of the output. In files from 2026-11-26 on, images, weights and gradients"
        " of single operations begin on cache lines, ours as PyTorch's. GFLOP/s counts the direct algorithm, so"
        " Winograd can pass the"
        " peak; the roofline is the longer of the algorithm's own operations (after Winograd's saving) at the peak and"
        " of each array moved once at the rate of memory. Strict is ours with no Winograd. PyTorch's bf16 is its"
        ' autocast in steps and arrays of that type in single passes, against ours in float32 and in "fast" precision'
        ' (steps in "fast" have rows of their own); ncnn is its Winograd in float32, an image a thread, its weight'
        " transformed beforehand; an engine is the faster of ONNX Runtime and OpenVINO in float32, on the"
        " same graph. Error is the largest difference from float64, as a share of the largest value.",
    ]
    for path in sorted((HERE / "results").glob("cpu-*.json")):
        parts += [f"## Kernels, training steps and inference: {path.stem.removeprefix('cpu-')}", kernels(path)]
    for path in sorted((HERE / "results").glob("rooms-*.json")):
        parts += [f"## Layers, optimizers, losses and augmentations: {path.stem.removeprefix('rooms-')}", kernels(path)]
    for path in sorted((HERE / "results").glob("gpu-*.json")):
        parts += [f"## On a GPU: {path.stem.removeprefix('gpu-')}", gpu(path)]
    for path in sorted((HERE / "results").glob("trained-*.json")):
        parts += [f"## Trained: {path.stem.removeprefix('trained-')}", training(path)]
    if (HERE / "results" / "architectures.json").exists():
        parts += ["## Trained for a moment", architectures(HERE / "results" / "architectures.json")]
    if runs := sorted((HERE / "results").glob("speedrun-*.json")):
        parts += ["## 94 % on CIFAR-10", speedruns(runs)]
    if (HERE / "results" / "pruning.json").exists():
        parts += ["## Pruning", pruning(HERE / "results" / "pruning.json")]
    for path in sorted((HERE / "results").glob("sweeps-*.json")):
        parts += ["## The sweeps of a lecture's notebooks", sweeps(path)]
    if ranks := scale_out(HERE / "results"):
        parts += ["## Several ranks", ranks]
    if (HERE / "roofline.svg").exists():
        parts += [
            "## Roofline",
            "Made by `python -m benchmarks.roofline` from the latest of them.",
            "![roofline](roofline.svg)",
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write RESULTS.md and its part of README.md."""
    (HERE / "RESULTS.md").write_text(results())
    replace(ROOT / "README.md", "measured", measured(HERE / "results"))


if __name__ == "__main__":
    main()
