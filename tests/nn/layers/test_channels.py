"""PReLU, Maxout and Softmax by hand."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

pytestmark = pytest.mark.float64


def test_prelu_by_hand(backend):
    layer = nn.PReLU(2).build((2,), np.float64)
    np.testing.assert_array_equal(fc.to_numpy(layer.slope.data), [0.25, 0.25])
    layer.slope.data = np.array([0.5, -1.0])
    y, context = layer.forward(fc.asarray(np.array([[-2.0, -3.0], [4.0, 5.0]])), training=True)
    np.testing.assert_array_equal(fc.to_numpy(y), [[-1, 3], [4, 5]])
    grad = layer.backward(fc.asarray(np.array([[1.0, 10.0], [100.0, 1000.0]])), context)
    np.testing.assert_array_equal(fc.to_numpy(grad), [[0.5, -10], [100, 1000]])
    np.testing.assert_array_equal(fc.to_numpy(layer.slope.grad), [-2, -30])


def test_maxout_takes_pieces_one_after_the_other(backend):
    """Channels are (piece, unit): the first piece of all units, then the second."""
    layer = nn.Maxout(2).build((4,), np.float64)
    y, context = layer.forward(fc.asarray(np.array([[1.0, 5.0, 3.0, 2.0], [0.0, np.nan, 0.0, 1.0]])), training=True)
    np.testing.assert_array_equal(fc.to_numpy(y), [[3, 5], [0, np.nan]])
    grad = layer.backward(fc.asarray(np.array([[1.0, 2.0], [3.0, 4.0]])), context)
    np.testing.assert_array_equal(fc.to_numpy(grad), [[0, 2, 1, 0], [3, 4, 0, 0]])


def test_softmax_is_of_the_last_axis(backend):
    x = np.log(np.array([[1.0, 3.0], [5.0, 5.0]])) + 700
    y = fc.to_numpy(nn.Softmax().build((2,), np.float64)(fc.asarray(x)))
    np.testing.assert_allclose(y, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-12)
