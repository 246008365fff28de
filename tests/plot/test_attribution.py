"""The numbers behind maps of what speaks for a class."""

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError, ShapeError

SIGNED = np.array([[[-1.0, 0.5], [0, 0]], [[0, 2.0], [0, 0]]])
AMOUNT = np.array([[[4.0, 0.5], [0, 0]], [[0, 8.0], [0, 0]]])


def test_maps_beside_images():
    images = np.arange(16.0).reshape(2, 2, 2, 2)[..., :1]
    figure = plot.attributions(images, {"signed": SIGNED, "amount": AMOUNT})
    assert [ax.get_title() for ax in figure.axes] == ["", "signed", "amount", "", "", ""]
    shown = [ax.images[0] for ax in figure.axes]
    np.testing.assert_allclose(shown[3].get_array(), [[0, 1 / 3], [2 / 3, 1]])
    np.testing.assert_array_equal(shown[4].get_array(), SIGNED[1])
    assert [image.get_clim() for image in shown[1:3] + shown[4:]] == [(-1, 1), (0, 4), (-2, 2), (0, 8)]
    assert {image.get_cmap().name for image in (shown[1], shown[4])} == {"PuOr_r"}
    figure = plot.attributions(images, {"signed": SIGNED, "amount": AMOUNT}, together=True)
    assert [ax.images[0].get_clim() for ax in figure.axes[1:3]] == [(-4, 4), (0, 4)]


def test_a_coarse_map_lies_over_the_image():
    figure = plot.attributions(np.zeros((2, 6, 6)), {"coarse": AMOUNT})
    under, over = figure.axes[1].images
    assert under.get_array().shape == (6, 6)
    assert over.get_extent() == [-0.5, 5.5, 5.5, -0.5]
    assert over.get_alpha() < 1
    coloured = np.arange(216.0).reshape(2, 6, 6, 3)
    under = plot.attributions(coloured, {"coarse": AMOUNT}).axes[1].images[0].get_array()
    np.testing.assert_allclose(under, np.arange(36).reshape(6, 6) / 35)


def test_one_pixel_does_not_pale_all_others():
    values = np.tile([1.0, 2.0], 200).reshape(1, 20, 20)
    values[0, 3, 3] = 1000
    assert plot.attributions(values, {"a": values}).axes[1].images[0].get_clim() == (0, 2)
    values = np.zeros((1, 20, 20))
    values[0, 3, 3] = 1000
    assert plot.attributions(values, {"a": values}).axes[1].images[0].get_clim() == (0, 1000)


def test_refuses():
    with pytest.raises(ArgumentError, match="maps: got none"):
        plot.attributions(SIGNED, {})
    with pytest.raises(ShapeError, match=r"maps\['a'\]: got shape \(1, 2, 2\); allowed: one for each of the 2 images"):
        plot.attributions(SIGNED, {"a": SIGNED[:1]})
    with pytest.raises(ShapeError, match=r"images: got shape \(0, 2, 2\)"):
        plot.attributions(SIGNED[:0], {"a": SIGNED[:0]})
