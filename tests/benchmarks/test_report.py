"""RESULTS.md is what the raw results give."""

from __future__ import annotations

from typing import Any

from benchmarks import report


def test_the_page_holds_what_the_script_makes() -> None:
    assert (report.HERE / "RESULTS.md").read_text() == report.results(), "run: python -m benchmarks.report"


def test_the_table_of_models_has_sizes_and_spreads() -> None:
    def timed(what: str, model: str) -> dict[str, Any]:
        info = {"model": model, "batch": 16, "parameters": 1000, "macs": 2000, "milliseconds": 1.5, "spread": 0.25}
        more = {"torch_ratio": 2.0} if what == "step" else {}
        return {"name": f"bench_model_{what}[{model}]", "extra_info": info | more}

    names = ("resnet18", "mnist_cnn", "lenet5")
    lines = report._models([timed(what, model) for model in names for what in ("step", "inference")])
    assert "16 images of the size that each is made for: 32x32x3, but 28x28x1 of mnist_cnn. PyTorch" in lines[1]
    assert lines[3].count("|") == lines[5].count("|") == 10
    assert lines[5] == "| resnet18 | 1,000 | 2,000 | 1.50 | 25% | 2.00 | 1.50 | 25% |  |"
