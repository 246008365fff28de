"""The boxes of a network."""

import numpy as np
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


def test_many_boxes_stand_in_rows_that_a_page_has_room_for():
    ax = plot.volumes(fc.models.googlenet.unbuilt(), (32, 32, 3))
    boxes = len(ax.patches) // 3
    assert boxes == 67
    lefts = np.array([patch.get_xy()[0, 0] for patch in ax.patches[::3]])
    assert np.count_nonzero(lefts == 0) == 6  # each begins a row
    width, height = ax.figure.get_size_inches()
    assert (width, height) == pytest.approx((14.2, 11.2))
    low, high = ax.get_ylim()
    assert all(low < text.get_position()[1] < high for text in ax.texts)


def test_the_tallest_box_is_in_the_picture_as_a_whole():
    ax = plot.volumes(fc.models.mnist_cnn.unbuilt(), (28, 28, 1))  # 9216 numbers, flattened
    low, high = ax.get_ylim()
    places = np.concatenate([patch.get_xy()[:, 1] for patch in ax.patches])
    assert low < places.min() < places.max() < high
    tall = fc.nn.Sequential(fc.nn.Flatten(), *(fc.nn.Dense(100_000 + number) for number in range(14)))
    ax = plot.volumes(tall, (200, 200, 1))
    heights = [np.concatenate([patch.get_xy()[:, 1] for patch in row]) for row in (ax.patches[:24], ax.patches[24:])]
    assert heights[0].min() > heights[1].max() + 0.6  # with room for a line of words


def test_few_boxes_stand_in_one_row():
    ax = plot.volumes(fc.models.vgg16.unbuilt(), (32, 32, 3))
    assert len({round(text.get_position()[0], 3) for text in ax.texts}) == 12
    assert ax.figure.get_size_inches()[0] == pytest.approx(14.2)
