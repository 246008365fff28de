"""Pictures of learning rates, by the numbers behind their lines."""

import pytest

from fastconv import plot
from fastconv.errors import ArgumentError
from fastconv.optim import schedules
from fastconv.training import RangeTest

FOUND = RangeTest((1e-3, 1e-2, 1e-1, 1.0), (3.0, 2.0, 1.0, 4.0), (3.0, 2.5, 1.8, 2.5), True)


def test_a_range_test():
    ax = FOUND.plot()
    raw, smoothed, steepest, tenth = ax.get_lines()
    assert (list(raw.get_xdata()), list(raw.get_ydata())) == (list(FOUND.rates), list(FOUND.losses))
    assert list(smoothed.get_ydata()) == list(FOUND.smoothed)
    assert (steepest.get_xdata()[0], tenth.get_xdata()[0]) == FOUND.suggestion
    assert ax.get_xscale() == "log"
    assert ax.get_ylim() == pytest.approx((1.2, 4.2))  # half of the fall below the least loss, and twice above
    assert ax.get_xlabel() == "learning rate (per step)"
    assert ax.get_ylabel() == "loss (mean of a batch)"
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:] == ["steepest: 0.1", "minimum / 10: 0.01"]
    rising = RangeTest((0.1, 1.0, 10.0), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), True)
    assert len(plot.learning_rate_finder(rising).get_lines()) == 2


def test_schedules():
    drawn = {"line": schedules.Polynomial(1.0, 4), "halves": schedules.Exponential(1.0, 0.5, by="epoch")}
    ax = plot.schedules(drawn, 6, steps_per_epoch=2)
    line, halves = ax.get_lines()
    assert list(line.get_xdata()) == list(halves.get_xdata()) == list(range(6))
    assert list(line.get_ydata()) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert list(halves.get_ydata()) == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["line (by step)", "halves (by epoch)"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate (per step)")


def test_draws_where_it_is_told_to():
    from matplotlib.figure import Figure

    left, right = Figure().subplots(1, 2)
    assert plot.schedules({"one": schedules.Constant(0.1)}, 3, ax=right) is right
    assert plot.learning_rate_finder(FOUND, left) is left
    assert (len(left.get_lines()), len(right.get_lines())) == (4, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plot.learning_rate_finder(RangeTest((), (), (), True)), "result: got no rates; allowed: what find_"),
        (lambda: plot.schedules({}, 3), r"schedules: got \{\}"),
        (lambda: plot.schedules([schedules.Constant(0.1)], 3), r"schedules: got \[Constant"),
        (lambda: plot.schedules({"a": schedules.Constant(0.1)}, 0), "steps: got 0"),
        (lambda: plot.schedules({"a": schedules.ReduceOnPlateau(1)}, 3), "steps_per_epoch: got None with 'a', which"),
        (lambda: plot.schedules({"a": schedules.Constant(0.1)}, 3, steps_per_epoch=0), "steps_per_epoch: got 0"),
        (lambda: plot.schedules({"a": schedules.Constant(0.1)}, 3, ax="here"), "ax: got str; allowed: one matplotlib"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
