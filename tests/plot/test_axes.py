"""What all pictures share."""

import sys

import numpy as np
import pytest

from fastconv.errors import BackendUnavailableError, ShapeError
from fastconv.plot import COLOURS, axes


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(BackendUnavailableError, match=r"Matplotlib: got .*; allowed: .*pip install 'fastconv\[plot\]'"):
        axes.new_axes(None)


def test_colours_differ_for_all_eyes():
    """For eyes without green (Machado et al. 2009, https://doi.org/10.1109/TVCG.2009.113) no two are alike."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    deutan = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = linear @ deutan.T
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 2 * np.eye(len(COLOURS))
    assert apart.min() > 0.05


def test_lines_differ_beyond_the_colours():
    styles = [tuple(axes.line_style(number).values()) for number in range(2 * len(COLOURS))]
    assert len(set(styles)) == len(styles)


@pytest.mark.parametrize("shape", [(3,), (2, 0), ()])
def test_a_picture_of_nothing_is_refused(shape):
    with pytest.raises(ShapeError, match=r"image: got shape .*; allowed: 2 axes, and something in it"):
        axes.on_host(np.zeros(shape), "image", 2)


def test_values_are_brought_into_the_range_of_pictures():
    np.testing.assert_array_equal(axes.in_range(np.array([[-3, 1], [5, 5]])), [[0, 0.5], [1, 1]])
    np.testing.assert_array_equal(axes.in_range(np.full((2, 2), 7)), np.full((2, 2), 0.5))
