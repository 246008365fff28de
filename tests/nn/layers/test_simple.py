"""Layers without parameters: subsampling by hand, dropout from its stream."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

pytestmark = pytest.mark.float64


@pytest.mark.parametrize("channels", [4, 5, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
def test_subsample_pad_by_hand(backend, rng, channels, stride):
    """Of an odd number of new channels the smaller half comes first."""
    x = rng.standard_normal((2, 5, 7, 4))
    layer = nn.SubsamplePad(channels, stride=stride).build(x.shape[1:], np.float64)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    before = (channels - 4) // 2
    want = np.pad(x[:, ::down, ::right], ((0, 0), (0, 0), (0, 0), (before, channels - 4 - before)))
    y, context = layer.forward(fc.asarray(x), training=True)
    np.testing.assert_array_equal(fc.to_numpy(y), want)
    grad = rng.standard_normal(want.shape)
    got = fc.to_numpy(layer.backward(fc.asarray(grad), context))
    back = np.zeros_like(x)
    back[:, ::down, ::right] = grad[..., before : before + 4]
    np.testing.assert_array_equal(got, back)


def test_subsample_pad_takes_every_pixel_by_default(backend, rng):
    x = fc.asarray(rng.standard_normal((2, 5, 7, 4)).astype(np.float32))
    np.testing.assert_array_equal(fc.to_numpy(nn.SubsamplePad(4).build((5, 7, 4))(x)), fc.to_numpy(x))


def test_dropout_draws_from_the_stream(backend):
    layer = nn.Dropout(0.5).build((100,))
    x = fc.asarray(np.ones((8, 100), np.float32))

    def draw(*place):
        with fc.random.stream(*place):
            return [fc.to_numpy(layer.forward(x, training=True)[0]).copy() for _ in range(2)]

    first, second = draw(3, 5)
    assert set(np.unique(first)) == {0.0, 2.0}
    assert (first != second).any(), "two draws of one step have different masks"
    np.testing.assert_array_equal(draw(3, 5)[0], first)
    assert (draw(3, 6)[0] != first).any()
    assert (draw(4, 5)[0] != first).any()
    assert layer(x) is x


@pytest.mark.parametrize("backend", ["numba"], indirect=True)
def test_dropout_is_the_same_on_all_backends(backend):
    def draw():
        layer = nn.Dropout(0.3).build((7,))
        with fc.random.stream(11, 2):
            return layer.forward(fc.asarray(np.ones((5, 7), np.float32)), training=True)[0]

    got = fc.to_numpy(draw())
    with fc.use_backend("numpy"):
        np.testing.assert_array_equal(got, draw())
