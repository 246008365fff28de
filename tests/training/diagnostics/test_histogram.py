"""Histograms are NumPy's where it gives one, and go on where it refuses."""

import numpy as np
import pytest

from fastconv.training.diagnostics.histogram import histogram

LARGEST = np.finfo(np.float64).max


@pytest.mark.parametrize("values", [[], [2.0, 2.0], [-1.0, 0.5, 0.5, 3.0], [1e30, -1e30, 0.0], [0.0, 1e-320]])
def test_what_numpy_counts_is_counted_so(values):
    for got, want in zip(histogram(np.array(values), 7), np.histogram(np.array(values), 7), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bins", [1, 20, 1000])
@pytest.mark.parametrize("values", [[1e38, 1e38], [-1e38], [1e16, 1e16 + 2], [0.0, 5e-324]])
def test_values_too_close_for_bins_get_wider_ones(values, bins):
    counts, edges = histogram(np.array(values), bins)
    assert counts.sum() == len(values)
    assert (np.diff(edges) > 0).all()
    assert (edges[0], edges[-1]) == (pytest.approx(min(values)), pytest.approx(max(values)))


@pytest.mark.parametrize("values", [[LARGEST, -LARGEST], [LARGEST, LARGEST], [1e308, -1e308, 0.0]])
def test_values_too_far_apart_are_counted(values):
    counts, edges = histogram(np.array(values), 4)
    assert counts.sum() == len(values)
    assert np.isfinite(edges).all()
    assert (edges[0], edges[-1]) == (pytest.approx(min(values)), pytest.approx(max(values)))
