"""A picture of the roofline with our convolutions and PyTorch's on it: ``python -m benchmarks.roofline``.

Reads the latest of benchmarks/results/cpu-*.json and writes benchmarks/roofline.svg. Needs matplotlib (the extra
"plot").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PASSES = {"forward": "o", "backward_input": "s", "backward_weight": "^"}
_WINOGRAD = 4  # times as many operations of the direct algorithm, for 3x3 in tiles of 4x4; 4.8 in tiles of 4x8


def points(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each convolution its operations a byte, and the GFLOP/s of ours and of PyTorch's."""
    found = []
    for row in rows:
        info = row["extra_info"]
        if "arrays_bytes" not in info or "torch_ratio" not in info:
            continue
        direction = row["name"].partition("[")[2].partition("-")[0]
        x = info["flops"] / info["arrays_bytes"]
        found.append(
            {"direction": direction, "x": x, "ours": info["gflops"], "torch": info["gflops"] / info["torch_ratio"]}
        )
    return found


def draw(found: list[dict[str, Any]], peak: float, memory: float, path: Path) -> None:
    """Draw `found` below the roofs of `peak` FLOP/s and `memory` bytes/s."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "roofline"  # the same picture for the same numbers
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 6))
    left, right = min(p["x"] for p in found) / 1.5, max(p["x"] for p in found) * 1.5
    for roof, label in ((peak, "multiply-adds"), (_WINOGRAD * peak, "the same, with Winograd's tiles of 4x4")):
        corner = roof / memory
        axes.plot([left, corner, right], [memory * left / 1e9, roof / 1e9, roof / 1e9], label=label, linewidth=1)
    for direction, marker in PASSES.items():
        mine = [p for p in found if p["direction"] == direction]
        x = [p["x"] for p in mine]
        axes.scatter(x, [p["ours"] for p in mine], marker=marker, color="tab:red", label=f"fastconv, {direction}")
        axes.scatter(x, [p["torch"] for p in mine], marker=marker, color="tab:gray", label=f"PyTorch, {direction}")
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    axes.set_xlabel("operations of the direct algorithm by bytes of input, weight and output")
    axes.set_ylabel("GFLOP/s of the direct algorithm")
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Draw the latest committed results."""
    reports = [json.loads(path.read_text()) for path in (HERE / "results").glob("cpu-*.json")]
    report = max(reports, key=lambda report: report["datetime"])
    info = next(b["extra_info"] for b in report["benchmarks"] if "memory_rate" in b["extra_info"])
    draw(points(report["benchmarks"]), info["peak"], info["memory_rate"], HERE / "roofline.svg")


if __name__ == "__main__":
    main()
