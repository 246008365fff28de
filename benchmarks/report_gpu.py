"""The part of RESULTS.md about a run on a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def gpu(path: Path) -> str:
    """Return what was run on which card, what came of it, and the table of layers."""
    report = json.loads(path.read_text())
    rows: list[dict[str, Any]] = report["rows"]
    versions = f"driver {report['driver']}, CuPy {report['cupy']}, NumPy {report['numpy']}, PyTorch {report['torch']}"
    lines = [
        f"{report['device']}, {versions}; {report['date']}; `{report['command']}`;"
        f" raw: `benchmarks/results/{path.name}`.",
        "",
        report["note"],
        "",
        "| stage | seconds | passed | not |",
        "|---|--:|--:|--:|",
    ]
    for stage in (row for row in rows if row["item"] is None and "seconds" in row):
        items = [row["status"] for row in rows if row["stage"] == stage["stage"] and row["item"] is not None]
        passed = items.count("ok") + stage.get("passed", 0)
        lines.append(f"| {stage['stage']} | {stage['seconds']} | {passed} | {len(items) - items.count('ok')} |")
    lines += [
        "",
        "Microseconds of a pass at batch 512, by CUDA events: ours as a graph, packing in it; PyTorch with cuDNN,"
        f" {'in channels_last, plain' if 'peer' in report else 'the fastest of two layouts, plain or as a graph'}."
        ' "default" is TF32 for ours and allowed to PyTorch, which seems not to use it for the gradient of the'
        ' weight (there its result differs from ours by 3e-4 to 9e-4, elsewhere by 1e-5); in "fast" ours multiplies in'
        " bf16 and keeps float32, PyTorch's arrays are bf16. Above 1 ours is faster.",
        "",
        "| layer | pass | precision | ours | TFLOP/s | PyTorch | PyTorch / ours |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for row in (row for row in rows if row["stage"] in ("ops", "more") and "medians" in row and "layer" in row):
        ours, peer = row["medians"]["fastconv graph"], row["medians"][report.get("peer") or row["peer"]]
        names = f"{row['layer']} | {row['direction']} | {row['precision']}"
        lines.append(f"| {names} | {ours:.0f} | {row['teraflops']:.0f} | {peer:.0f} | {peer / ours:.2f} |")
    steps = [row for row in rows if row["stage"] == "steps" and "medians" in row]
    if steps:
        lines += ["", "Milliseconds of a training step (SGD with momentum), the batch on the device:", ""]
        lines += ["| model | batch | precision | ours, graph | ours, plain | PyTorch, graph | PyTorch / ours |"]
        lines += ["|---|--:|---|--:|--:|--:|--:|"]
    for row in steps:
        graph, plain, peer = (row["medians"][n] / 1e3 for n in ("fastconv graph", "fastconv", row["peer"]))
        names = f"{row['model']} | {row['batch']} | {row['precision']}"
        lines.append(f"| {names} | {graph:.2f} | {plain:.2f} | {peer:.2f} | {row['ratio']:.2f} |")
    return "\n".join(lines)
