"""The layer of convolutions computes what the functions do, and refuses other shapes."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ShapeError

pytestmark = pytest.mark.float64


@pytest.mark.parametrize("other", [(2, 6, 5, 3), (2, 30), (6, 5, 4)])
def test_convolution_refuses_other_shapes(backend, other):
    layer = nn.Conv2d(6, 3, padding=1).build((6, 5, 4))
    with pytest.raises(ShapeError, match=r"x of Conv2d\(6, \(3, 3\)\): got shape"):
        layer(fc.asarray(np.zeros(other, np.float32)))
    with pytest.raises(ShapeError, match="x of Dense"):
        nn.Dense(3).build((4,))(fc.asarray(np.zeros((2, 5), np.float32)))
    with pytest.raises(ShapeError, match="x of BatchNorm2d"):
        nn.BatchNorm2d().build((4,))(fc.asarray(np.zeros((2, 5), np.float32)))


@pytest.mark.parametrize("stride", [1, (2, 1)])
@pytest.mark.parametrize("padding", [0, (1, 2), ((1, 0), (0, 2)), "same"])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_layers_are_the_functions(rng, stride, padding, dilation, groups):
    F = fc.functional
    x = rng.standard_normal((2, 7, 8, 4))
    more = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    with fc.use_backend("numpy"):
        layer = nn.Conv2d(6, (2, 3), **more).build(x.shape[1:], np.float64, seed=1)
        weight, bias = layer.weight.array, layer.bias.array
        y, context = layer.forward(x, training=True)
        np.testing.assert_array_equal(y, F.conv2d(x, weight, bias, **more))
        grad = F.conv2d_backward_input(y, weight, input_shape=x.shape, **more)
        np.testing.assert_array_equal(layer.backward(y, context), grad)
        want = F.conv2d_backward_weight(y, x, weight_shape=weight.shape, **more)
        np.testing.assert_array_equal(layer.weight.grad, want)
        np.testing.assert_array_equal(layer.bias.grad, F.conv2d_backward_bias(y))
