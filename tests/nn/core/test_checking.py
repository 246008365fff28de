"""What a layer is built for and called with, where it is checked."""

import warnings

import pytest

import fastconv as fc
from fastconv import nn


@pytest.mark.parametrize(("shape", "meant"), [((3, 32, 32), "32, 32, 3"), ((1, 28, 28), "28, 28, 1")])
def test_a_shape_with_the_channels_first_is_warned_of(shape, meant):
    told = rf"got \({shape[0]}, .*if the {shape[0]} stands for channels, write \({meant}\) and x.transpose\(0, 2"
    with fc.use_backend("numpy"), pytest.warns(UserWarning, match=told) as caught:
        nn.Sequential(nn.Conv2d(2, 3, padding=1)).build(shape)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("shape", [(32, 32, 3), (3, 32, 16), (2, 32, 32), (3, 8, 8), (3, 3, 3), (3, 32), (3,)])
def test_other_shapes_are_taken_as_they_are(shape):
    with fc.use_backend("numpy"), warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.Sequential(nn.Scale(2.0)).build(shape)
