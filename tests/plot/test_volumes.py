"""The boxes of a network."""

import pytest

import fastconv as fc
from fastconv import plot
from fastconv.errors import ArgumentError


def test_one_box_for_each_shape():
    ax = plot.volumes(fc.models.mnist_cnn.unbuilt(), (28, 28, 1))
    texts = [text.get_text() for text in ax.texts]
    shapes = ["28 x 28 x 1", "26 x 26 x 32", "24 x 24 x 64", "12 x 12 x 64", "9216", "128", "10"]
    assert texts[::2] == shapes
    assert texts[1::2] == ["input", "Conv2d", "Conv2d", "MaxPool2d", "Flatten", "Dense", "Dense"]
    assert len(ax.patches) == 3 * len(shapes)


def test_a_model_that_changes_nothing():
    with pytest.raises(ArgumentError, match="model: got one whose layers change no shape"):
        plot.volumes(fc.nn.Sequential(fc.nn.ReLU()), (4, 4, 1))
