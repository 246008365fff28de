"""What an animated kernel has written at each picture."""

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError, ShapeError


def test_places_come_row_by_row(rng):
    image, kernel = rng.standard_normal((5, 6)), rng.standard_normal((3, 2))
    want = np.array([[(kernel * image[p : p + 3, q : q + 2]).sum() for q in range(5)] for p in range(3)])
    animation = plot.animate_kernel(image, kernel, frames=15)
    left, right = animation._fig.axes
    for frame in (0, 7, 14):
        animation._draw_frame(frame)
        shown = np.ma.filled(right.images[0].get_array(), np.nan).ravel()
        np.testing.assert_allclose(shown[: frame + 1], want.ravel()[: frame + 1], atol=1e-5)
        assert np.isnan(shown[frame + 1 :]).all()
        row, column = divmod(frame, 5)
        assert left.patches[0].get_xy() == right.patches[0].get_xy() == (column - 0.5, row - 0.5)
    assert (left.patches[0].get_width(), left.patches[0].get_height()) == (2, 3)
    animation._draw_was_started = True


def test_a_file_is_written(tmp_path):
    plot.animate_kernel(np.eye(4), np.ones((3, 3)), frames=2).save(tmp_path / "kernel.gif", writer="pillow")
    assert (tmp_path / "kernel.gif").read_bytes()[:4] == b"GIF8"


def test_refuses():
    with pytest.raises(ShapeError, match=r"kernel: got shape \(5, 1\); allowed: at most that of the image, \(4, 4\)"):
        plot.animate_kernel(np.eye(4), np.ones((5, 1)))
    with pytest.raises(ShapeError, match=r"image: got shape \(0, 4\)"):
        plot.animate_kernel(np.ones((0, 4)), np.ones((1, 1)))
    with pytest.raises(ArgumentError, match="frames: got 0"):
        plot.animate_kernel(np.eye(4), np.ones((1, 1)), frames=0)
