"""The tables of trainings by several ranks, from what scale_out.py and scale_out_link.py wrote."""

import json
import statistics
from pathlib import Path
from typing import Any


def scale_out(results: Path) -> str:
    """Return the tables of those files that there are, "" if there is none."""
    parts = []
    for name, table in (("equality", _equality), ("speed", _speed), ("link", _link)):
        path = results / f"scale_out-{name}.json"
        if path.exists():
            parts.append(table(json.loads(path.read_text())) + f"\n\nRaw: `benchmarks/results/{path.name}`.")
    return "\n\n".join(parts)


def _equality(report: dict[str, Any]) -> str:
    """Rows of one model, norm, data and number of steps: the ranks and MPIs, and whether the digests are one."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in report["rows"]:
        found.setdefault((row["model"], row["norm"], row["data"], row["steps"]), []).append(row)
    lines = [
        f"SHA-256 of all weights and statistics after training in 8 shards ({report['date']}):",
        "",
        "| model | normalisation | data | steps | ranks | MPI | SHA-256 |",
        "|---|---|---|--:|---|---|---|",
    ]
    for (model, norm, data, steps), rows in found.items():
        ranks = ", ".join(map(str, sorted({row["ranks"] for row in rows})))
        digests = sorted({row["sha256"][:16] for row in rows})
        told = f"`{digests[0]}` in all {len(rows)}" if len(digests) == 1 else "different"
        carriers = ", ".join(sorted({row["mpi"] for row in rows}))
        lines.append(f"| {model} | {norm} | {data} | {steps} | {ranks} | {carriers} | {told} |")
    return "\n".join(lines)


def _speed(report: dict[str, Any]) -> str:
    """Medians over rounds, each beside a rank of one thread, and one of two, without `DataParallel`."""
    found: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for row in report["rows"]:
        found.setdefault((row["case"], row["ranks"], row["threads"]), []).append(row)
    medians = {key: statistics.median(row["step_ms"][1] for row in rows) for key, rows in found.items()}
    one, two = medians[("no DataParallel", 1, 1)], medians[("no DataParallel, 2 threads", 1, 2)]
    lines = [
        f"Milliseconds of a step of {report['model']}, {report['batch']} images ({report['date']},"
        f" {report['environment']['facts']['name']}); waiting is for gradients, in the step:",
        "",
        "| | ranks | threads of each | step | 1 rank, 1 thread / this | 1 rank, 2 threads / this | waiting |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (case, ranks, threads), step in medians.items():
        wait = statistics.median(row["wait_ms"] for row in found[case, ranks, threads])
        share = f"{wait:.1f} ms, {wait / step:.0%}" if ranks > 1 else ""
        lines.append(f"| {case} | {ranks} | {threads} | {step:.1f} | {one / step:.2f} | {two / step:.2f} | {share} |")
    return "\n".join(lines)


def _link(report: dict[str, Any]) -> str:
    """Steps over the link beside the predicted ones, and what the formula says of more ranks."""
    lines = [
        f"Milliseconds of a step of two ranks of one thread with a link of {report['rows'][0]['rate']} between them,"
        f" batch {report['batch']} ({report['date']}, {report['environment']['facts']['name']}):",
        "",
        "| model | gradients | half the batch alone | no link | link | predicted | waiting |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in report["rows"]:
        times = (f"{row[key]:.1f}" for key in ("alone_ms", "no_link_ms", "link_ms", "predicted_ms", "wait_ms"))
        lines.append(f"| {row['model']} | {row['setting']} | {' | '.join(times)} |")
    sums = report["sums"]
    lines += [
        "",
        f"**Predicted, not measured:** from a sum of 8 bytes ({sums['small_ms']:.2f} ms) and of 4 MB"
        f" ({sums['large_ms']:.1f} ms) over the link, by the formula of `benchmarks/scale_out_link.py`, each rank with"
        " as many images as above:",
        "",
        "| model | gradients | ranks | step | efficiency |",
        "|---|---|--:|--:|--:|",
    ]
    for row in report["predicted"]:
        lines.append(
            f"| {row['model']} | {row['setting']} | {row['ranks']} | {row['step_ms']:.1f} | {row['efficiency']:.2f} |"
        )
    return "\n".join(lines)
