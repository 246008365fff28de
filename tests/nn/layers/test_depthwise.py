"""The depthwise convolution is a convolution of as many groups as there are channels."""

import numpy as np

import fastconv as fc
from fastconv import nn


def test_is_a_convolution_with_groups(backend, rng):
    layer = nn.DepthwiseConv2d(3, 2, stride=2, padding=1).build((6, 5, 4))
    plain = nn.Conv2d(8, 3, stride=2, padding=1, groups=4).build((6, 5, 4))
    plain.weight.data, plain.bias.data = layer.weight.data, layer.bias.data
    x = fc.asarray(rng.standard_normal((2, 6, 5, 4)).astype(np.float32))
    np.testing.assert_array_equal(fc.to_numpy(layer(x)), fc.to_numpy(plain(x)))
    assert layer.macs((6, 5, 4)) == plain.macs((6, 5, 4)) == 3 * 3 * 8 * 9
    assert repr(layer) == "DepthwiseConv2d(3, multiplier=2, stride=2, padding=1)"


def test_takes_other_channels_when_built_again():
    with fc.use_backend("numpy"):
        layer = nn.DepthwiseConv2d(3).build((6, 5, 4))
        assert layer.build((6, 5, 7)).weight.shape == (3, 3, 1, 7)


def test_runs_as_one_with_what_follows():
    model = nn.Sequential(nn.DepthwiseConv2d(3, padding=1), nn.BatchNorm2d(), nn.ReLU())
    with fc.use_backend("numba"):
        (row,) = fc.explain(model.build((6, 6, 8)), (2, 6, 6, 8)).rows
    assert row.kinds == ("DepthwiseConv2d", "BatchNorm2d", "ReLU")
