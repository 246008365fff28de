"""RESULTS.md is what the raw results give."""

from __future__ import annotations

from benchmarks import report


def test_the_page_holds_what_the_script_makes() -> None:
    assert (report.HERE / "RESULTS.md").read_text() == report.results(), "run: python -m benchmarks.report"
