"""The numbers behind the pictures of pruning."""

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError
from fastconv.training import History

RUN = History(
    {"loss": [1.0, 0.5], "sparsity": [0.25, 0.5], "sparsity/0.weight": [0.2, 0.4], "sparsity/3.weight": [0.3, 0.6]}
)


def test_layers_and_all_together_by_epoch():
    ax = plot.sparsity(RUN)
    assert [line.get_label() for line in ax.lines] == ["0.weight", "3.weight", "all"]
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [[20, 40], [30, 60], [25, 50]])
    np.testing.assert_array_equal(ax.lines[2].get_xdata(), [1, 2])
    assert plot.sparsity(RUN, ax=ax) is ax


def test_accuracy_against_sparsity_with_the_spread_of_runs():
    ax = plot.sparsity_accuracy({"ours": {0.5: [0.8, 0.9], 0.0: [0.9, 0.9]}, "published": {0.0: 0.86, 0.95: 0.77}})
    ours, published = ax.containers
    np.testing.assert_allclose(ours.lines[0].get_xydata(), [[0, 90], [50, 85]])
    np.testing.assert_allclose(ours.lines[2][0].get_segments()[1], [[50, 80], [50, 90]])
    np.testing.assert_allclose(published.lines[0].get_xydata(), [[0, 86], [95, 77]])
    assert not published.has_yerr
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ours", "published"]


def test_nothing_to_draw_is_told():
    with pytest.raises(ArgumentError, match=r"run: got one without sparsity; allowed: .*optim\.Pruning"):
        plot.sparsity(History({"loss": [1.0]}))
    for nothing in ({}, {"ours": {}}):
        with pytest.raises(ArgumentError, match="results: got none; allowed: at least one sparsity"):
            plot.sparsity_accuracy(nothing)
