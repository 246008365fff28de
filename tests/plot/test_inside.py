"""The numbers behind pictures of values, gradients, dead units and updates."""

import math

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError
from fastconv.training import diagnostics as look

from .pictures import reports, statistics


def test_histograms_of_layers():
    found = statistics()
    for of in ("output", "gradient"):
        figure = plot.histograms(found, of, columns=2)
        assert [ax.get_title() for ax in figure.axes] == [f"{row.name} {row.kind}" for row in found.rows]
        for ax, row in zip(figure.axes, found.rows, strict=True):
            want = getattr(row, of)
            values, edges, _ = ax.patches[0].get_data()
            np.testing.assert_allclose(values, np.array(want.counts) / want.size)
            np.testing.assert_allclose(edges, want.edges)
            assert ax.get_yscale() == "log"


def test_histograms_of_nothing():
    row = look.LayerStatistics("0", "Dense", look.statistics_of(np.array([math.nan])))
    for rows, of in (((), "output"), ((row,), "output"), ((row,), "gradient")):
        with pytest.raises(ArgumentError, match=f"statistics: got none of a layer's {of}; allowed: of at least one"):
            plot.histograms(look.ModelStatistics(rows), of)
    with pytest.raises(ArgumentError, match="of: got 'inputs'; allowed: output, gradient"):
        plot.histograms(statistics(), "inputs")


def test_dead_units_over_steps():
    first, third = plot.dead_units(reports()).get_lines()
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([1, 4, 6, 9], [0, 20, 30, 40])
    assert list(third.get_ydata()) == [10, 40, 60, 90]
    assert (first.get_label(), third.get_label()) == ("1 ReLU", "3 ReLU")
    with pytest.raises(ArgumentError, match="reports: got none"):
        plot.dead_units({})


def test_update_ratios():
    ratios = ({"a": 0.1, "b": math.nan}, {"a": 0.01, "b": 0.5}, {"a": 0.0, "b": 0.25})
    ax = plot.update_ratios([look.UpdateRatios(10 * step, each) for step, each in enumerate(ratios, 1)])
    usual, a, b = ax.get_lines()
    assert list(usual.get_ydata()) == [1e-3, 1e-3]
    assert (list(a.get_xdata()), list(a.get_ydata())) == ([10, 20], [0.1, 0.01])
    assert (list(b.get_xdata()), list(b.get_ydata())) == ([20, 30], [0.5, 0.25])
    for records in ([], [look.UpdateRatios(1, {"a": math.nan})]):
        with pytest.raises(ArgumentError, match="records: got no ratio; allowed: at least one record"):
            plot.update_ratios(records)
