"""Paths on surfaces, and the numbers behind their lines."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import plot
from fastconv.errors import ArgumentError, ShapeError


def bowl(x, y):
    return x**2 + 4 * y**2


def slopes(x, y):
    return 2 * x, 8 * y


def test_gradient_descent_is_what_it_says(backend):
    path = plot.descend(slopes, lambda p: fc.optim.SGD(p, 0.1), (1.0, -2.0), 5)
    want = np.array([(0.8**step * 1.0, 0.2**step * -2.0) for step in range(6)])
    np.testing.assert_allclose(path, want, rtol=1e-12)


def test_momentum_goes_on(backend):
    path = plot.descend(slopes, lambda p: fc.optim.SGD(p, 0.1, momentum=0.5), (1.0, 0.0), 2)
    np.testing.assert_allclose(path[:, 0], [1, 0.8, 0.8 - 0.1 * (0.5 * 2 + 1.6)], rtol=1e-12)


def test_paths_are_drawn_where_they_went():
    path = np.array([[0.0, 1.0], [0.5, 0.5], [0.75, 0.25]])
    ax = plot.surface(bowl, {"a": path, "b": path[::-1]}, x=(-1, 1), y=(-2, 2))
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), path)
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-2, 2))


def test_marks_stand_where_a_path_is_seen_and_not_where_it_dwells():
    """At equal distances in the picture, so that one that leaves it at once has some, too."""
    path = np.concatenate([np.linspace([0.0, 0.0], [0.9, 0.9], 10), np.full((500, 2), 3.0)])
    (line,) = plot.surface(bowl, {"away": path}, x=(-1, 1), y=(-1, 1)).lines
    first, apart = line.get_markevery()
    assert (first, apart) == (0, pytest.approx(0.12))  # floats: of the diagonal of the axes, as matplotlib has it
    assert isinstance(apart, float)


def test_a_film_of_a_path_whose_first_place_is_not_finite(tmp_path):
    path = np.array([[np.nan, 1.0], [0.5, 0.5], [np.inf, 0.25]])
    film = plot.animate_surface(bowl, {"a": path}, x=(-1, 1), y=(-2, 2), frames=3)
    film.save(tmp_path / "film.gif", writer="pillow")
    np.testing.assert_array_equal(film._fig.axes[0].lines[0].get_xydata(), path[1:])


def test_a_film_begins_and_ends_with_the_paths(tmp_path):
    path = np.array([[0.0, 1.0], [0.5, 0.5], [0.75, 0.25]])
    film = plot.animate_surface(bowl, {"a": path}, x=(-1, 1), y=(-2, 2), frames=4)
    film.save(tmp_path / "film.gif", writer="pillow")
    (line, _) = film._fig.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), path)
    assert (tmp_path / "film.gif").read_bytes()[:6] == b"GIF89a"


def test_what_cannot_be_drawn_is_told():
    with pytest.raises(ArgumentError, match="paths: got none"):
        plot.surface(bowl, {}, x=(-1, 1), y=(-1, 1))
    with pytest.raises(ArgumentError, match=r"y: got \(1, 1\); allowed: a low end and a higher one"):
        plot.surface(bowl, {"a": np.zeros((2, 2))}, x=(-1, 1), y=(1, 1))
    with pytest.raises(ShapeError, match=r"paths\['a'\]: got shape \(3,\)"):
        plot.surface(bowl, {"a": np.zeros(3)}, x=(-1, 1), y=(-1, 1))
    with pytest.raises(ArgumentError, match=r"paths\['a'\]: got no place whose two numbers are finite"):
        plot.surface(bowl, {"a": np.array([[np.nan, 0], [0, np.nan]])}, x=(-1, 1), y=(-1, 1))


def test_an_animation_of_no_frames():
    with pytest.raises(ArgumentError, match="frames: got 0"):
        plot.animate_surface(lambda x, y: x + y, {"a": np.zeros((2, 2))}, x=(0, 1), y=(0, 1), frames=0)
