"""The figures of the README are those of the raw results."""

from __future__ import annotations

from benchmarks.report import HERE
from benchmarks.report_readme import _cell, measured, ratios
from docs.marked import ROOT, part


def test_the_readme_holds_what_the_script_makes() -> None:
    assert part(ROOT / "README.md", "measured") == measured(HERE / "results"), "run: python -m benchmarks.report"


def test_ratios_come_in_the_order_of_the_names_and_those_not_run_are_left_out() -> None:
    rows = [{"name": f"bench_step[{name}]", "extra_info": {"ratio": ratio}} for name, ratio in (("a", 2.0), ("b", 0.5))]
    report = {"benchmarks": [*rows, {"name": "bench_step[c]", "extra_info": {}}]}
    assert ratios(report, ["step[b]", "step[c]", "step[a]", "step[d]"], "ratio") == [0.5, 2.0]


def test_a_range_shows_the_worst() -> None:
    assert _cell([2.0, 0.5, 1.0], as_range=True) == "0.50 to 2.00"
    assert _cell([2.0, 0.5], as_range=False) == "2.00, 0.50"
    assert _cell([], as_range=True) == "not run"
