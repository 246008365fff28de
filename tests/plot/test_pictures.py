"""Each function draws what its baseline shows; ``python -m tests.plot.pictures`` draws these anew, to be looked at."""

import sys

import pytest

import fastconv as fc
from fastconv import plot
from fastconv.errors import DataError

from .pictures import BASELINES, PICTURES, save

TOLERANCE = 2.0  # root of the mean squared difference, of 255: a missing line has ten and more
NO_PICTURE = {"COLOURS", "descend"}


def test_every_function_has_a_picture():
    assert set(PICTURES) == set(plot.__all__) - NO_PICTURE
    assert {path.stem for path in BASELINES.iterdir()} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_as_it_was(name, tmp_path):
    from matplotlib.testing.compare import compare_images

    save(name, tmp_path / f"{name}.png")
    assert compare_images(str(BASELINES / f"{name}.png"), str(tmp_path / f"{name}.png"), TOLERANCE) is None


def test_a_line_less_is_seen(tmp_path, monkeypatch):
    from matplotlib.testing.compare import compare_images

    def without_a_line(draw=PICTURES["curves"]):
        ax = draw()
        ax.lines[0].remove()
        return ax

    monkeypatch.setitem(PICTURES, "curves", without_a_line)
    save("curves", tmp_path / "curves.png")
    assert "RMS" in compare_images(str(BASELINES / "curves.png"), str(tmp_path / "curves.png"), TOLERANCE)


@pytest.mark.parametrize("name", PICTURES)
def test_without_matplotlib_it_says_what_to_install(name, monkeypatch):
    for module in [each for each in sys.modules if each.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with fc.use_backend("numpy"), pytest.raises(DataError, match=r"matplotlib: .* pip install 'fastconv\[plot\]'"):
        PICTURES[name]()


def test_all_are_small():
    assert sum(path.stat().st_size for path in BASELINES.iterdir()) < 400_000
