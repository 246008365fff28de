"""Measured times beside predicted ones.

    python -m benchmarks.cuda_measured FILE

FILE is what the run-book left: lines of JSON, or one JSON object with ``rows``. Rows of layers have ``layer``,
``direction``, ``precision`` and ``medians``; those of training steps ``model``, ``batch``, ``precision`` and
``medians``: microseconds by contender, of which those named ``fastconv...`` are ours and the best of them counts. It
needs neither a GPU nor a compiler, only benchmarks/results/cuda_report.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "cuda_report.json"


class MeasurementError(ValueError):
    """A file has no rows that can be compared."""


@dataclass(frozen=True)
class Comparison:
    """One pass of a layer or one training step: microseconds predicted and measured.

    Attributes
    ----------
    peer : microseconds of the best contender that is not ours, or None
    binds : what the prediction waits for most
    """

    name: str
    batch: int
    precision: str
    predicted: float
    measured: float
    peer: float | None
    binds: str

    @property
    def ratio(self) -> float:
        """Measured by predicted: above 1 the model is too fast."""
        return self.measured / self.predicted


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of the run-book; a last line that was cut off is left out.

    Raises
    ------
    MeasurementError
        There is none, or it is no JSON.
    """
    text = path.read_text()
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        return _lines(path, text.splitlines())
    rows = whole["rows"] if isinstance(whole, dict) and "rows" in whole else [whole]
    return [row for row in rows if isinstance(row, dict)]


def _lines(path: Path, lines: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise MeasurementError(f"{path}, line {number}: not JSON ({error.msg})") from error
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def compare(rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> tuple[list[Comparison], list[str]]:
    """Return what was predicted and measured, the last row of each; and the names of what was measured alone."""
    predicted = {_pass_of(row): (1e6 * row["total"], row["binds"]) for row in record["predictions"]}
    for step in record["steps"]:
        seconds = {group["kernel"]: group["seconds"] for group in step["groups"]}
        key = (step["model"], step["batch"], step["precision"])
        predicted[key] = 1e6 * sum(seconds.values()), max(seconds, key=lambda name: seconds[name])
    found: dict[tuple[str, int, str], Comparison] = {}
    alone = []
    for row in rows:
        if "medians" not in row or not ("layer" in row or "model" in row):
            continue  # another stage, or a row that failed
        key = _pass_of(row) if "layer" in row else (row["model"], row["batch"], row["precision"])
        ours = [value for name, value in row["medians"].items() if name.startswith("fastconv")]
        peers = [value for name, value in row["medians"].items() if not name.startswith("fastconv")]
        if key in predicted and ours:
            found[key] = Comparison(*key, predicted[key][0], min(ours), min(peers, default=None), predicted[key][1])
        else:
            alone.append(" ".join(map(str, key)))
    return list(found.values()), alone


def _pass_of(row: dict[str, Any]) -> tuple[str, int, str]:
    """Return the key of a pass; predictions are for one batch."""
    from benchmarks.gpu_layers import BATCH

    return f"{row['layer']} {row['direction']}", row.get("batch", BATCH), row["precision"]


def table(found: Sequence[Comparison]) -> str:
    """Return the table, that which the model misses most first."""
    numbers = f"{'predicted':>10} {'measured':>10} {'ratio':>6} {'peer':>10}"
    lines = [f"{'':40} {'batch':>5} {'':7} {numbers}  predicted to wait for"]
    for row in sorted(found, key=lambda row: -row.ratio):
        peer = "" if row.peer is None else f"{row.peer:.1f}"
        numbers = f"{row.predicted:10.1f} {row.measured:10.1f} {row.ratio:6.2f} {peer:>10}"
        lines.append(f"{row.name:40} {row.batch:5} {row.precision:7} {numbers}  {row.binds}")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table for a file; status 2 and one line where there is nothing to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda_measured", description="Measured beside predicted."
    )
    parser.add_argument("file", type=Path, help="what the run-book left")
    path = parser.parse_args(words).file
    try:
        found, alone = compare(read_rows(path), json.loads(RESULTS.read_text()))
        if not found:
            raise MeasurementError(f"{path}: no row of a layer or a step that was predicted")
    except (OSError, UnicodeDecodeError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found), end="")
    if alone:
        print(f"measured, not predicted: {', '.join(alone)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
