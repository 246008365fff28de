"""The part of RESULTS.md about pruning: TensorFlow's table with ours beside it."""

import json
import statistics
from pathlib import Path
from typing import Any


def pruning(path: Path) -> str:
    """Return the table of a file of benchmarks/pruning.py."""
    report = json.loads(path.read_text())
    lengths = sorted({run["steps"] for run in report["runs"]})
    heads = [f"ours, {steps:,} steps" for steps in lengths]
    places: dict[str, list[str]] = {}  # runs by all else that is said of them
    for run in report["runs"]:
        threads = f"{run['threads']} thread{'s' * (run['threads'] != 1)}"
        said = f'{run["environment"]["facts"]["name"]}, {run["date"]}, {threads}, "{run["precision"]}"'
        said = f"{said}; `{run['command']}`. {run.get('remark', '')}".rstrip()
        places.setdefault(said, []).append(f"{run['sparsity']:.0%} (seed {run['seed']})")
    lines = [
        "The network of TensorFlow's CIFAR-10 sample, test accuracy of the averaged weights; the published table leaves"
        f" two cells open; raw: `benchmarks/results/{path.name}`.",
        "",
        *(f"- {', '.join(runs)}: {said}" for said, runs in places.items()),
        "",
        "| " + " | ".join(["zeros", f"published, {report['published_steps']:,} steps", *heads]) + " |",
        "|" + "---|" * (2 + len(heads)),
    ]
    for share in sorted({run["sparsity"] for run in report["runs"]}):
        published = report["published"].get(str(share))
        cells = [
            f"{share:.0%}",
            ""
            if published is None and str(share) not in report["published"]
            else "TODO"
            if published is None
            else f"{published:.0%}",
        ]
        cells += [
            _cell([run for run in report["runs"] if (run["sparsity"], run["steps"]) == (share, n)]) for n in lengths
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return ""
    last = [run["curve"]["accuracy"][-1] for run in runs]
    spread = f" ± {statistics.stdev(last):.2%}" if len(last) > 1 else ""
    seeds = "1 seed" if len(last) == 1 else f"{len(last)} seeds"
    return f"{statistics.fmean(last):.2%}{spread} ({seeds})"
