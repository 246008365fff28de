"""Adaptive pooling and enlarging by hand."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

pytestmark = pytest.mark.float64


def test_adaptive_pooling_shares_cells_between_neighbours(backend):
    """Of five cells in three parts: 0 and 1, 1 to 3, 3 and 4."""
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0]).reshape(1, 5, 1, 1)
    layer = nn.AdaptiveAvgPool2d((3, 1)).build((5, 1, 1), np.float64)
    y, context = layer.forward(fc.asarray(x), training=True)
    np.testing.assert_allclose(fc.to_numpy(y).ravel(), [1.5, 14 / 3, 12], rtol=1e-15)
    grad = layer.backward(fc.asarray(np.array([6.0, 60.0, 600.0]).reshape(1, 3, 1, 1)), context)
    np.testing.assert_allclose(fc.to_numpy(grad).ravel(), [3, 23, 20, 320, 300], rtol=1e-14)


def test_adaptive_pooling_to_a_larger_map_repeats(backend):
    x = np.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    y = nn.AdaptiveAvgPool2d((1, 3)).build((1, 2, 1), np.float64)(fc.asarray(x))
    np.testing.assert_array_equal(fc.to_numpy(y).ravel(), [1, 1.5, 2])


def test_enlarging_repeats_rows_and_columns(backend):
    x = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    layer = nn.Upsample((1, 2)).build((2, 2, 1), np.float64)
    y, context = layer.forward(fc.asarray(x), training=True)
    np.testing.assert_array_equal(fc.to_numpy(y)[0, :, :, 0], [[1, 1, 2, 2], [3, 3, 4, 4]])
    grad = layer.backward(y, context)
    np.testing.assert_array_equal(fc.to_numpy(grad)[0, :, :, 0], [[2, 4], [6, 8]])
