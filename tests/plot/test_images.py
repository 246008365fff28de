"""The numbers behind pictures of images, kernels, filters and maps."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, plot
from fastconv.errors import ArgumentError, DTypeError, ShapeError


def test_an_image_as_its_numbers():
    ax = plot.matrix(np.array([[0, 128], [255, 7]]))
    assert [text.get_text() for text in ax.texts] == ["0", "128", "255", "7"]
    assert [text.get_color() for text in ax.texts] == ["white", "black", "black", "white"]
    with pytest.raises(ShapeError, match=r"image: got shape \(41, 3\); allowed: at most 40 x 40"):
        plot.matrix(np.zeros((41, 3)))


def test_what_a_kernel_makes_of_an_image(backend, rng):
    image = rng.standard_normal((6, 7))
    kernel = np.array([[0, 0, 0], [0, 2, 0], [0, 0, 0]])
    figure = plot.kernel_at_work(image, {"twice": kernel})
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, 2 * image[1:-1, 1:-1], rtol=1e-5)
    assert figure.axes[1].get_title() == "twice"
    with pytest.raises(ArgumentError, match="kernels: got none"):
        plot.kernel_at_work(image, {})


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_of_a_first_layer(backend, channels):
    layer = nn.Sequential(nn.Conv2d(5, 3)).build((8, 8, channels), seed=1).layers[0]
    figure = plot.filters(layer, columns=3)
    weights = fc.to_numpy(layer.weight.data)[..., 4]
    shown = np.asarray(figure.axes[4].images[0].get_array()).reshape(weights.shape)
    np.testing.assert_allclose(shown, (weights - weights.min()) / np.ptp(weights), atol=1e-6)
    assert len([ax for ax in figure.axes if ax.images]) == 5


def test_filters_behind_others_have_no_colours(backend):
    layer = nn.Sequential(nn.Conv2d(4, 3), nn.Conv2d(2, 3)).build((8, 8, 3)).layers[1]
    with pytest.raises(ShapeError, match="layer: got filters of 4 channels; allowed: 1 or 3"):
        plot.filters(layer)


def test_feature_maps_of_each_layer(backend, rng):
    model = nn.Sequential(nn.Conv2d(3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(2)).build(
        (8, 8, 1), seed=0
    )
    image = rng.standard_normal((8, 8, 1)).astype(np.float32)
    figure = plot.feature_maps(model, image, per_layer=2)
    titles = [ax.get_title(loc="left") for ax in figure.axes[::2]]
    assert titles == ["0 Conv2d", "1 ReLU", "2 MaxPool2d"]
    y = fc.to_numpy(model.layers[0](fc.asarray(image[None])))[0, :, :, 1]
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), (y - y.min()) / np.ptp(y), atol=1e-5)
    with pytest.raises(ArgumentError, match=r"layers: got \[4\]; allowed: places of layers"):
        plot.feature_maps(model, image, layers=[4])


def test_an_image_that_the_model_does_not_take_is_told():
    model = nn.Sequential(nn.Conv2d(3, 3), nn.Flatten(), nn.Dense(2)).build((8, 8, 1), seed=0)
    told = r"^image: got shape \(1, 6, 6, 1\); allowed: \(N, 8, 8, 1\), for which the model was built"
    with pytest.raises(ShapeError, match=told):
        plot.feature_maps(model, np.zeros((6, 6, 1), np.float32))
    with pytest.raises(DTypeError, match=r"^image: got uint8; allowed: float32 or float64"):
        plot.feature_maps(model, np.zeros((8, 8, 1), np.uint8))


@pytest.mark.parametrize("what", ["lenet5", None, nn.Sequential, 3.0, nn.MaxPool2d(2)], ids=repr)
def test_what_is_no_such_layer_is_told(what):
    image = np.zeros((8, 8, 3), np.float32)
    with pytest.raises(ArgumentError, match=r"^layer: got .*; allowed: a built Conv2d"):
        plot.filters(what)
    with pytest.raises(ArgumentError, match=r"^model: got .*; allowed: a built Sequential"):
        plot.feature_maps(what, image)
    if not isinstance(what, nn.Layer):
        with pytest.raises(ArgumentError, match=r"^model: got .*; allowed: a layer"):
            plot.volumes(what, (8, 8, 3))


def test_counts_of_pictures_are_at_least_one():
    layer = nn.Sequential(nn.Conv2d(4, 3)).build((8, 8, 3))
    with pytest.raises(ArgumentError, match="columns: got 0"):
        plot.filters(layer.layers[0], columns=0)
    with pytest.raises(ArgumentError, match="per_layer: got 0"):
        plot.feature_maps(layer, np.zeros((8, 8, 3), np.float32), per_layer=0)


def test_the_name_of_a_class_is_no_formula():
    ax = plot.confusion(np.eye(2, dtype=int), ["$x_{$", "b"])
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$x_{$", "b"]


def test_a_confusion_matrix(rng):
    counts = np.array([[8, 2], [0, 5]])
    ax = plot.confusion(counts, ["cat", "dog"])
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in ax.texts] == ["8", "2", "5"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    with pytest.raises(ShapeError, match=r"counts: got shape \(2, 2\); allowed: a row and a column for each"):
        plot.confusion(counts, ["cat"])


def test_shares_are_written_with_two_decimals():
    ax = plot.confusion(np.array([[0.5, 0.25, 0.25], [0, 1, 0], [0.0625, 0, 0.0625]]))
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.25", "0.25", "1.00", "0.06", "0.06"]
    np.testing.assert_array_equal(ax.images[0].get_array()[2], [0.5, 0, 0.5])  # of all images, not of a row


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1.0, np.nan], [0, 1]], "counts: got nan; allowed: finite numbers, at least 0"),
        ([[1.0, np.inf], [0, 1]], "counts: got inf; allowed: finite numbers, at least 0"),
        ([[1, -1], [0, 1]], "counts: got -1; allowed: finite numbers, at least 0"),
        ([[0, 0], [0, 0]], "counts: got zeros only; allowed: at least one above 0"),
        ([[1, 2]], r"counts: got shape \(1, 2\); allowed: a row and a column for each"),
    ],
)
def test_what_is_no_confusion_matrix_is_told(counts, message):
    with pytest.raises((ArgumentError, ShapeError), match=message):
        plot.confusion(counts)


def test_a_hole_in_an_image_leaves_the_rest_as_it_is():
    ax = plot.matrix(np.array([[np.nan, 0.0, 4.0, 1.0]]))
    np.testing.assert_array_equal(ax.images[0].get_array().filled(-1), [[-1, 0, 1, 0.25]])
    assert [text.get_text() for text in ax.texts] == ["nan", "0.0", "4.0", "1.0"]
