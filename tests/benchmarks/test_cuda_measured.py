"""Measured beside predicted: files as the run-book leaves them, with numbers made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import cuda_measured, cuda_report

RECORD = json.loads(cuda_report.RESULTS.read_text())


def _rows() -> list[dict]:
    """Return a pass that took twice as long as predicted, with a peer, and a step that took half as long."""
    row, step = RECORD["predictions"][7], cuda_report.read_steps(RECORD)[1]
    names = {name: row[name] for name in ("layer", "direction", "precision")}
    slow, fast = 2e6 * row["total"], 0.5e6 * step.seconds
    return [
        {"stage": "ops", "item": "x", "status": "begun"},
        {**names, "batch": 512, "medians": {"fastconv": 9 * slow, "torch": 3.0}},  # measured again below
        {
            **names,
            "batch": 512,
            "medians": {"fastconv": 1.1 * slow, "fastconv graph": slow, "torch": 60.0, "cudnn": 50.0},
        },
        {"model": step.model, "batch": step.batch, "precision": step.precision, "medians": {"fastconv graph": fast}},
        {
            "layer": "7x7_unknown",
            "direction": "forward",
            "precision": "fast",
            "batch": 512,
            "medians": {"fastconv": 1.0},
        },
        {**names, "batch": 32, "medians": {"fastconv": 1.0}},
        {**names, "batch": 512, "error": "AssertionError: wrong"},
        {"name": "copy", "medians": {"copy": 1.0}},
    ]


def test_a_made_up_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, row, step = _rows(), RECORD["predictions"][7], cuda_report.read_steps(RECORD)[1]
    found, alone = cuda_measured.compare(rows, RECORD)
    assert [(f.name, f.batch, f.precision) for f in found] == [
        (f"{row['layer']} {row['direction']}", 512, row["precision"]),
        (step.model, step.batch, step.precision),
    ]
    assert [f.ratio for f in found] == pytest.approx([2.0, 0.5])
    assert [f.peer for f in found] == [50.0, None]
    assert [f.binds for f in found] == [row["binds"], step.groups[0].kernel]
    assert alone == ["7x7_unknown forward 512 fast", f"{row['layer']} {row['direction']} 32 {row['precision']}"]
    lines = tmp_path / "gpu.jsonl"
    lines.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"layer": "cut o')  # killed while it wrote
    whole = tmp_path / "gpu_ops.json"
    whole.write_text(json.dumps({"device": "an H100", "rows": rows}, indent=1))
    printed = []
    for path in (lines, whole):
        assert cuda_measured.main([str(path)]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    head, first, second, rest = printed[0].splitlines()
    assert head.split()[:4] == ["batch", "predicted", "measured", "ratio"]
    assert first.split()[-5:] == [
        f"{1e6 * row['total']:.1f}",
        f"{2e6 * row['total']:.1f}",
        "2.00",
        "50.0",
        row["binds"],
    ]
    assert second.split()[0] == step.model
    assert rest.startswith("measured, not predicted: 7x7_unknown forward 512 fast, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no row of a layer or a step"),
        ('{"name": "copy", "medians": {"copy": 1}}\n', "no row of a layer or a step"),
        ('{"layer": 1}\nnonsense\n{"layer": 2}\n', "line 2: not JSON"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results"
    path.write_text(text)
    assert cuda_measured.main([str(path)]) == 2
    assert message in capsys.readouterr().err
    assert cuda_measured.main([str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err
