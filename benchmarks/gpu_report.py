"""A readable summary of the run-book's results, finished or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_plan import NAMES
from benchmarks.gpu_results import read

Row = dict[str, Any]
_BAD = ("wrong", "failed", "timeout")
_SHOWN = 12  # of what is wrong in a stage


def last_run(folder: Path) -> list[Row]:
    """Return the rows of the run that was begun last."""
    rows = read(folder / "gpu.jsonl")
    return [row for row in rows if row["run"] == rows[-1]["run"]]


def latest(rows: Iterable[Row], stage: str) -> dict[str, Row]:
    """Return the last row of each item of a stage."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["stage"] == stage and row["item"] is not None:
            found[row["item"]] = row
            if row["status"] == "again":
                del found[row["item"]]
    return found


def trouble(rows: Sequence[Row]) -> int:
    """Return how many items and stages are wrong, failed or came too late."""
    bad = sum(row["status"] in _BAD for stage in NAMES for row in latest(rows, stage).values())
    return bad + sum(row is not None and row["status"] == "failed" for row in (_whole(rows, s) for s in NAMES))


def _whole(rows: Sequence[Row], stage: str) -> Row | None:
    return next((r for r in reversed(rows) if r["stage"] == stage and r["item"] is None), None)


def summary(rows: Sequence[Row]) -> str:
    """Return the summary: the figures, what is wrong, what each stage came to, and where.

    What counts most is last: a terminal shows the end.
    """
    wrong = [line for stage in NAMES for line in _wrong(rows, stage)]
    lines = [*_counters(rows), *_ops(rows), *_steps(rows), *wrong]
    return "\n".join(["", "== run-book ==", *lines, "", *_stages(rows), *_where(rows)])


def _where(rows: Sequence[Row]) -> list[str]:
    found = latest(rows, "smoke").get("environment", {})
    names = ("device", "card", "multiprocessors", "cuda_driver", "nvrtc", "cupy", "numpy", "python", "cache")
    rates = latest(rows, "ops").get("ceilings", {})
    lines = [", ".join(f"{name} {found[name]}" for name in names if name in found) or "no environment was recorded"]
    measured = {name: value for name, value in rates.items() if name.endswith(("per_second", "teraflops"))}
    return lines + [", ".join(f"{name} {value:.0f}" for name, value in measured.items())] * bool(measured)


def _stages(rows: Sequence[Row]) -> list[str]:
    lines = [f"{'stage':<10} {'seconds':>7} {'estimate':>8}  outcome"]
    for stage in NAMES:
        whole, counts = _whole(rows, stage), Counter(row["status"] for row in latest(rows, stage).values())
        if whole is None and not counts:
            continue
        said = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        status = "cut off" if whole is None else whole["status"]
        more = "" if whole is None else whole.get("message", "")
        took, expected = ((whole or {}).get(name, "") for name in ("seconds", "estimated"))
        expected = f"{expected:.0f}" if expected != "" else ""
        lines.append(f"{stage:<10} {took:>7} {expected:>8}  {status}: {said} {more}".rstrip(": "))
    return lines


def _wrong(rows: Sequence[Row], stage: str) -> list[str]:
    bad = [(name, row) for name, row in latest(rows, stage).items() if row["status"] in _BAD]
    lines = ["", f"-- {stage}: {len(bad)} not right --"] if bad else []
    for name, row in bad[:_SHOWN]:
        text = str(row.get("message") or row.get("failed") or row.get("first") or row.get("error") or "").strip()
        text = " | ".join(text.splitlines()[-2:])[-300:]
        lines.append(f"{row['status']}: {name.rsplit('::', 1)[-1]}: {text}")
    return lines + [f"... and {len(bad) - _SHOWN} more"] * (len(bad) > _SHOWN)


def _ops(rows: Sequence[Row]) -> list[str]:
    found = [row for stage in ("ops", "more") for row in latest(rows, stage).values() if "medians" in row]
    lines = ["", "-- layers: microseconds; ratio above 1 where ours is faster --"] if found else []
    for row in found:
        peer = f"{row['medians'][row['peer']]:9.1f} {row['ratio']:5.2f}" if "ratio" in row else f"{'':15}"
        ours = min((v for n, v in row["medians"].items() if n.startswith("fastconv")), default=float("nan"))
        name = f"{row['layer']:<24} {row['direction']:<15} {row['precision']:<8}"
        lines.append(
            f"{name}{ours:9.1f} {peer}  {row.get('teraflops', 0):6.1f} TFLOP/s  off by {row['difference']:.1e}"
            f"  {row.get('peer', '')}"
        )
    return lines


def _steps(rows: Sequence[Row]) -> list[str]:
    found = [row for stage in ("steps", "compiled") for row in latest(rows, stage).values() if "medians" in row]
    lines = ["", "-- training steps: milliseconds --"] if found else []
    for row in found:
        times = ", ".join(f"{name} {value / 1e3:.2f}" for name, value in row["medians"].items())
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else "-"
        lines.append(f"{row['model']} {row['batch']} {row['precision']}: ratio {ratio}: {times} {row['failed'] or ''}")
    return lines


def _counters(rows: Sequence[Row]) -> list[str]:
    kernels = latest(rows, "ncu").get("kernels", {}).get("kernels", [])
    lines = ["", "-- counters --"] if kernels else []
    for row in kernels:
        label = " ".join(str(row.get(name, "")) for name in ("layer", "direction", "precision"))
        shown = ", ".join(f"{short} {value:.4g}" for short, value in _chosen(row["metrics"]))
        lines.append(f"{label} {row['kernel'].split('(')[0]}: {shown}")
    return lines


_COUNTERS = {
    "us": ("gpu__time_duration.sum", 1e-3),
    "tensor %": ("sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_active", 1),
    "sm %": ("sm__throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "dram %": ("gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "l2 %": ("lts__throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "l1 %": ("l1tex__throughput.avg.pct_of_peak_sustained_active", 1),
    "warps %": ("sm__warps_active.avg.pct_of_peak_sustained_active", 1),
    "registers": ("launch__registers_per_thread", 1),
}


def _chosen(metrics: dict[str, float]) -> list[tuple[str, float]]:
    chosen = [(short, metrics[name] * factor) for short, (name, factor) in _COUNTERS.items() if name in metrics]
    issued = metrics.get("sm__inst_issued.sum", metrics.get("sass__inst_executed_per_opcode"))
    products = metrics.get("sm__inst_executed_pipe_tensor.sum")
    if issued and products:
        chosen.append(("instructions a product", issued / products))
    reason = "smsp__average_warps_issue_stalled_"
    stalls = {n: v for n, v in metrics.items() if n.startswith(reason) and "not_issued" not in n}
    worst = sorted(stalls, key=lambda name: -stalls[name])[:3]
    return chosen + [(f"stall {n.removeprefix(reason).split('_per_')[0]}", stalls[n]) for n in worst]
