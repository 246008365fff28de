"""The numbers behind the roofline."""

import pytest

from fastconv import plot
from fastconv.errors import ArgumentError
from fastconv.training import diagnostics as look

from .pictures import profile


def test_layers_under_the_roof():
    ax = plot.roofline(profile())
    roof, forward, backward = ax.get_lines()
    assert (roof.get_xdata()[1], roof.get_ydata()[1]) == pytest.approx((10, 200))  # 200 GFLOP/s at 20 GB/s
    assert roof.get_ydata()[0] == pytest.approx(20 * roof.get_xdata()[0])
    assert roof.get_ydata()[2] == 200
    assert list(forward.get_xdata()) == pytest.approx([20, 0.2])  # the ReLU multiplies nothing on its way
    assert list(forward.get_ydata()) == pytest.approx([100, 1])  # 1e8 multiplications and additions in 2 ms
    assert list(backward.get_xdata()) == pytest.approx([4, 4])
    assert list(backward.get_ydata()) == pytest.approx([400 / 3] * 2)
    assert [text.get_text() for text in ax.texts] == ["0", "2"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_layers_that_do_not_multiply():
    empty = look.Profile("numpy", "default", (1,), look.Machine(1.0, 1.0), ())
    with pytest.raises(ArgumentError, match="profile: got one without a layer that multiplies"):
        plot.roofline(empty)
