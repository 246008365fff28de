"""The transposed convolution: sizes as other libraries have them, and that it is the function."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"kernel_size": 3}, (8, 7)),  # PyTorch's (P - 1) * stride - 2 * padding + dilation * (R - 1) + 1
        ({"kernel_size": 3, "stride": 2, "padding": 1}, (11, 9)),
        ({"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}, (12, 10)),
        ({"kernel_size": (2, 3), "dilation": (3, 2)}, (9, 9)),
        ({"kernel_size": 3, "stride": 2, "padding": "same"}, (12, 10)),  # Keras's P * stride
        ({"kernel_size": 2, "stride": 3, "padding": "same"}, (18, 15)),
        ({"kernel_size": 3, "padding": "valid"}, (8, 7)),
    ],
)
def test_sizes_are_those_of_others(settings, size):
    assert nn.ConvTranspose2d(4, **settings).infer((6, 5, 3)) == (*size, 4)


@pytest.mark.parametrize("groups", [1, 2])
def test_layer_is_the_function(backend, rng, groups):
    how = {"stride": 2, "padding": ((1, 0), (0, 1)), "output_padding": (1, 0), "groups": groups}
    layer = nn.ConvTranspose2d(6, 3, **how).build((4, 5, 4))
    x = fc.asarray(rng.standard_normal((2, 4, 5, 4)).astype(np.float32))
    want = fc.functional.conv_transpose2d(x, layer.weight.data, layer.bias.data, **how)
    np.testing.assert_array_equal(fc.to_numpy(layer(x)), fc.to_numpy(want))
    assert layer.macs((4, 5, 4)) == 4 * 5 * 4 * 9 * 6 // groups


def test_frozen_it_computes_no_gradients_of_parameters(backend, rng):
    layer = nn.ConvTranspose2d(2, 3).build((4, 5, 3))
    x = fc.asarray(rng.standard_normal((2, 4, 5, 3)).astype(np.float32))
    y, context = layer.forward(x, training=True)
    trained = fc.to_numpy(layer.backward(y, context))
    layer.freeze()
    called = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("conv2d_backward_weight", "sum_rows"):
            patch.setattr(type(layer.backend), name, property(lambda self, name=name: called.append(name)))
        frozen = fc.to_numpy(layer.backward(y, context))
    assert not called
    np.testing.assert_array_equal(frozen, trained)
