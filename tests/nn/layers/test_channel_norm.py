"""Group and local response normalisation: by hand, and what other libraries call the same."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ShapeError

pytestmark = pytest.mark.float64


def test_tensorflows_local_response_is_expressible() -> None:
    """``tf.nn.lrn(x, 4, bias=1, alpha=0.001 / 9, beta=0.75)`` of the tutorial's network, by its documented formula."""
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 64))
    with fc.use_backend("numpy"):
        y = nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1).build((3, 3, 64), np.float64)(x)
    for d in range(64):
        sqr_sum = (x[..., max(d - 4, 0) : d + 4 + 1] ** 2).sum(-1)
        np.testing.assert_allclose(y[..., d], x[..., d] / (1 + 0.001 / 9 * sqr_sum) ** 0.75, rtol=1e-12)


def test_local_response_by_hand():
    x = np.array([[1.0, 2.0, -3.0]])
    with fc.use_backend("numpy"):
        y = nn.LocalResponseNorm(2, alpha=2.0, beta=1.0, k=1.0).build((3,), np.float64)(x)
    np.testing.assert_allclose(y, [[1 / 2, 2 / 6, -3 / 14]], rtol=1e-15)  # of itself and the channel before


def test_group_norm_by_hand(backend):
    x = np.array([[1.0, 3.0, 10.0, 10.0], [0.0, 0.0, -2.0, 2.0]])
    layer = nn.GroupNorm(2, eps=1.0).build((4,), np.float64)
    layer.gamma.data, layer.beta.data = np.array([1.0, 1.0, 2.0, 2.0]), np.array([0.0, 1.0, 0.0, 0.0])
    root = np.sqrt([2.0, 5.0])
    want = [[-1 / root[0], 1 / root[0] + 1, 0, 0], [0, 1, -4 / root[1], 4 / root[1]]]
    np.testing.assert_allclose(fc.to_numpy(layer(fc.asarray(x))), want, rtol=1e-14, atol=1e-15)


def test_group_norm_is_the_same_for_each_image_alone(backend, rng):
    x = rng.standard_normal((3, 4, 5, 6)).astype(np.float32)
    layer = nn.GroupNorm(3).build((4, 5, 6))
    whole = fc.to_numpy(layer(fc.asarray(x)))
    for i in range(3):
        np.testing.assert_array_equal(fc.to_numpy(layer(fc.asarray(x[i : i + 1])))[0], whole[i])


@pytest.mark.parametrize("offset", [0.0, 1e4, -3e5])
def test_a_mean_far_from_zero_costs_group_norm_no_accuracy(backend, rng, offset):
    x = (rng.standard_normal((2, 8, 8, 6)) + offset).astype(np.float32)
    y = fc.to_numpy(nn.GroupNorm(2).build((8, 8, 6))(fc.asarray(x)))
    wide = x.astype(np.float64).reshape(2, 64, 2, 3)
    mean, var = wide.mean((1, 3), keepdims=True), wide.var((1, 3), keepdims=True)
    want = ((wide - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


def test_group_norm_takes_numbers_whose_squares_are_out_of_range(backend, rng):
    x = (1e30 * rng.standard_normal((1, 6, 5, 4))).astype(np.float32)
    y = fc.to_numpy(nn.GroupNorm(2).build((6, 5, 4))(fc.asarray(x)))
    wide = x.astype(np.float64).reshape(1, 30, 2, 2)
    want = (wide - wide.mean((1, 3), keepdims=True)) / wide.std((1, 3), keepdims=True)
    np.testing.assert_allclose(y, want.reshape(x.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (2, 5, 4, 3)])
def test_group_norm_takes_two_or_four_axes(backend, shape):
    layer = nn.GroupNorm(3).build((5, 4, 3))
    x = fc.asarray(np.ones(shape, np.float32))
    if len(shape) in (2, 4):
        assert layer(x).shape == shape
    else:
        with pytest.raises(ShapeError, match=r"allowed: \(N, H, W, C\) or \(N, C\)"):
            layer(x)
