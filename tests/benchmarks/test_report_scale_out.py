"""The tables of several ranks hold what the raw files say."""

from __future__ import annotations

import json

from benchmarks.report_scale_out import scale_out

WHERE = {"date": "2026-01-02", "environment": {"facts": {"name": "a CPU"}}}


def equal(sha256, ranks):
    row = {"model": "lenet5", "norm": "none", "data": "shapes10", "steps": 5, "mpi": "MPICH"}
    return {**row, "ranks": ranks, "sha256": sha256}


def timed(case, ranks, threads, step, wait=0.0):
    return {"case": case, "ranks": ranks, "threads": threads, "step_ms": [step - 1, step], "wait_ms": wait}


def test_without_files_there_is_nothing(tmp_path):
    assert scale_out(tmp_path) == ""


def test_digests_that_differ_are_told(tmp_path):
    for last, told in (("a" * 64, f"`{'a' * 16}` in all 2"), ("b" * 64, "different")):
        rows = [equal("a" * 64, 1), equal(last, 2)]
        (tmp_path / "scale_out-equality.json").write_text(json.dumps({**WHERE, "rows": rows}))
        assert f"| lenet5 | none | shapes10 | 5 | 1, 2 | MPICH | {told} |" in scale_out(tmp_path)


def test_speed_is_beside_one_rank_of_either_kind(tmp_path):
    rows = [timed("no DataParallel", 1, 1, 100.0), timed("no DataParallel, 2 threads", 1, 2, 60.0)]
    rows += [timed("8 shards", 2, 1, step, 10.0) for step in (70.0, 80.0, 90.0)]
    (tmp_path / "scale_out-speed.json").write_text(json.dumps({**WHERE, "model": "m", "batch": 64, "rows": rows}))
    assert "| 8 shards | 2 | 1 | 80.0 | 1.25 | 0.75 | 10.0 ms, 12% |" in scale_out(tmp_path)


def test_a_prediction_is_called_one(tmp_path):
    row = {"model": "m", "setting": "overlap", "rate": "1gbit", "alone_ms": 10.0, "no_link_ms": 12.0, "link_ms": 15.0}
    row |= {"predicted_ms": 14.0, "wait_ms": 3.0}
    more = [{"model": "m", "setting": "overlap", "ranks": 64, "step_ms": 20.0, "efficiency": 0.5}]
    report = {**WHERE, "batch": 8, "rows": [row], "sums": {"small_ms": 1.0, "large_ms": 35.0}, "predicted": more}
    (tmp_path / "scale_out-link.json").write_text(json.dumps(report))
    text = scale_out(tmp_path)
    assert "| m | overlap | 10.0 | 12.0 | 15.0 | 14.0 | 3.0 |" in text
    assert text.index("Predicted, not measured") < text.index("| m | overlap | 64 | 20.0 | 0.50 |")
