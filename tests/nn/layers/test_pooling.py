"""Pooling layers compute what the functions do; global pooling by hand."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

pytestmark = pytest.mark.float64

POOLINGS = [
    (kernel, stride, padding, dilation, ceil)
    for kernel, stride in (((2, 2), None), ((3, 2), (1, 2)), ((2, 3), (2, 1)))
    for padding in (0, ((1, 0), (0, 1)), "same")
    for dilation in ((1, 1), (2, 1), (1, 2))
    for ceil in (False, True)
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "ceil"), POOLINGS)
def test_pooling_layers_are_the_functions(rng, kernel, stride, padding, dilation, ceil):
    """Every setting arrives, forward and backward; a gradient alone would fit any windows."""
    F = fc.functional
    x = rng.standard_normal((2, 9, 8, 3))
    more = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    with fc.use_backend("numpy"):
        layer = nn.MaxPool2d(kernel, dilation=dilation, **more).build(x.shape[1:], np.float64)
        y, argmax = F.max_pool2d(x, kernel, dilation=dilation, **more)
        got, context = layer.forward(x, training=True)
        np.testing.assert_array_equal(got, y)
        grad = F.max_pool2d_backward(y, argmax, input_shape=x.shape, kernel_size=kernel, dilation=dilation, **more)
        np.testing.assert_array_equal(layer.backward(y, context), grad)
        for count in (True, False):
            layer = nn.AvgPool2d(kernel, count_include_pad=count, **more).build(x.shape[1:], np.float64)
            y = F.avg_pool2d(x, kernel, count_include_pad=count, **more)
            got, context = layer.forward(x, training=True)
            np.testing.assert_array_equal(got, y)
            grad = F.avg_pool2d_backward(y, input_shape=x.shape, kernel_size=kernel, count_include_pad=count, **more)
            np.testing.assert_array_equal(layer.backward(y, context), grad)


def test_global_pooling_by_hand(backend, rng):
    """Also of maps with more cells than a byte counts."""
    x = rng.standard_normal((2, 23, 17, 3))
    for make, reduce in ((nn.GlobalMaxPool2d, np.max), (nn.GlobalAvgPool2d, np.mean)):
        layer = make().build(x.shape[1:], np.float64)
        y, context = layer.forward(fc.asarray(x), training=True)
        np.testing.assert_allclose(fc.to_numpy(y), reduce(x, axis=(1, 2)), rtol=1e-12, atol=1e-14)
        grad = fc.to_numpy(layer.backward(fc.asarray(np.ones((2, 3))), context))
        want = np.full(x.shape, 1 / (23 * 17)) if reduce is np.mean else x == x.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(grad, want, rtol=1e-12)
