"""What all pictures share: where they are drawn, colours, and the word for who has no matplotlib."""

import itertools
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import plot
from fastconv.errors import ArgumentError, DataError
from fastconv.plot import axes
from fastconv.training import diagnostics as look

from .pictures import profile


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(DataError, match=r"matplotlib: got .*; allowed: .*pip install 'fastconv\[plot\]'"):
        axes.new_axes(None)


def test_axes_are_asked_for():
    with pytest.raises(ArgumentError, match="ax: got str; allowed: one matplotlib Axes, or None for a new figure"):
        axes.new_axes("axes")


def test_lines_are_told_apart():
    styles = [axes.line_style(number, 100) for number in range(41)]
    marked = [(style["linestyle"], style["marker"]) for style in styles]
    assert len(set(marked)) == 40  # without colours
    assert marked[40] == marked[0]
    assert len({style["color"] for style in styles[:7]}) == 7
    assert axes.line_style(0, 3)["markevery"] == (0, 1)
    assert axes.line_style(1, 120)["markevery"] == (3, 10)


NAMES = [f"line {number}" for number in range(9)]
RUNS = {name: fc.History({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}) for name in NAMES}
PATH = np.array([[0.0, 0.0], [0.5, 0.5]])
AREA = {"x": (-1, 1), "y": (-1, 1)}
PRUNED = fc.History({"sparsity": [0.1, 0.2]} | {f"sparsity/{name}": [0.1, 0.3] for name in NAMES})
DEAD = look.DeadUnitReport(tuple(look.DeadUnits(name, "ReLU", 4, (0,)) for name in NAMES), 4)
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
SEVERAL_LINES = {
    "activations": lambda: plot.activations(*(fc.nn.LeakyReLU(0.1 * number) for number in range(9))),
    "animate_surface": lambda: plot.animate_surface(np.add, dict.fromkeys(NAMES, PATH), **AREA, frames=2),
    "costs": lambda: plot.costs({name: fc.losses.MeanSquaredError() for name in NAMES}),
    "curves": lambda: plot.curves(RUNS),
    "dead_units": lambda: plot.dead_units({0: DEAD, 1: DEAD}),
    "learning_rate_finder": lambda: plot.learning_rate_finder(
        fc.training.RangeTest(RATES, (3.0, 2.0, 1.0, 4.0), (3.0, 2.0, 1.0, 4.0), diverged=False)
    ),
    "roofline": lambda: plot.roofline(profile()),
    "schedules": lambda: plot.schedules({name: fc.optim.schedules.Constant(0.1) for name in NAMES}, 4),
    "sparsity": lambda: plot.sparsity(PRUNED),
    "sparsity_accuracy": lambda: plot.sparsity_accuracy({key: {0.0: 0.9, 0.5: 0.8} for key in NAMES}),
    "surface": lambda: plot.surface(np.add, dict.fromkeys(NAMES, PATH), **AREA),
    "update_ratios": lambda: plot.update_ratios([look.UpdateRatios(1, dict.fromkeys(NAMES, 0.1))]),
}


@pytest.mark.parametrize("name", SEVERAL_LINES)
def test_lines_of_one_picture_are_told_apart_without_colours(name):
    drawn = SEVERAL_LINES[name]()
    drawn._draw_was_started = True  # an animation that is not saved would warn
    figure = drawn if hasattr(drawn, "savefig") else getattr(drawn, "_fig", None) or drawn.figure
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    lines += [bars.lines[0] for bars in figure.axes[0].containers]
    assert len(lines) >= 3
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines)


# What is left of linear RGB without the cones for long and for middle waves (Viénot, Brettel and Mollon 1999).
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("who", SEEN)
def test_colours_are_told_apart_with_two_kinds_of_cones(who):
    shown = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in axes.COLOURS])
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN[who]), 0, 1) ** (1 / 2.2)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.14
    light = linear @ [0.2126, 0.7152, 0.0722]
    assert (1.05 / (light + 0.05)).min() > 2  # contrast with a white page


def test_values_are_brought_into_the_range_of_pictures():
    np.testing.assert_array_equal(axes.in_range(np.array([[-3, 1], [5, 5]])), [[0, 0.5], [1, 1]])
    np.testing.assert_array_equal(axes.in_range(np.full((2, 2), 7)), np.full((2, 2), 0.5))
    ends = axes.in_range(np.array([np.nan, 0, 4, np.inf, -np.inf, 1]))
    np.testing.assert_array_equal(ends, [np.nan, 0, 1, 1, 0, 0.25])
    np.testing.assert_array_equal(axes.in_range(np.array([np.nan, 2])), [np.nan, 0.5])


NAME = r"$\frac{$"  # a formula that is none
_IMAGE = np.arange(64.0).reshape(8, 8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.mistakes(np.zeros((2, 8, 8)), np.array([0, 1]), np.eye(2), [NAME, "b"]),
        lambda: plot.confusion(np.eye(2), [NAME, "b"]),
        lambda: plot.kernel_at_work(_IMAGE, {NAME: np.ones((3, 3))}),
        lambda: plot.attributions(np.zeros((1, 8, 8, 3)), {NAME: np.zeros((1, 8, 8))}),
        lambda: plot.costs({NAME: fc.losses.MeanSquaredError()}),
        lambda: plot.schedules({NAME: fc.optim.schedules.Constant(0.1)}, 4),
        lambda: plot.sparsity_accuracy({NAME: {0.0: 0.9, 0.5: 0.8}}),
        lambda: plot.curves({NAME: fc.training.History({"loss": [1.0, 0.5]})}),
    ],
)
def test_names_are_no_formulas(draw):
    drawn = draw()
    figure = drawn if hasattr(drawn, "savefig") else drawn.figure
    figure.canvas.draw()  # where a formula that cannot be read is an error
    texts = {text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text"))}
    assert any(NAME in text for text in texts)


LONG = "a" * 150 + "b" * 150
SHORT = "a" * 13 + "..." + "b" * 12
MANY = [f"run {number}" for number in range(100)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda names: plot.curves({name: fc.History({"loss": [1.0, 0.5]}) for name in names}),
        lambda names: plot.schedules({name: fc.optim.schedules.Constant(0.1) for name in names}, 4),
        lambda names: plot.costs({name: fc.losses.MeanSquaredError() for name in names}),
        lambda names: plot.surface(np.add, dict.fromkeys(names, PATH), **AREA),
        lambda names: plot.update_ratios([look.UpdateRatios(1, dict.fromkeys(names, 0.1))]),
        lambda names: plot.sparsity_accuracy({name: {0.0: 0.9, 0.5: 0.8} for name in names}),
    ],
)
def test_names_leave_room_for_the_axes(draw):
    """Matplotlib warned, which is an error here, and drew axes of no size."""
    ax = draw(MANY)
    ax.figure.canvas.draw()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(texts) == 20
    assert texts[0].startswith("run 0")
    assert texts[-1] == "and 81 more"
    ax = draw([LONG])
    ax.figure.canvas.draw()
    assert ax.get_legend().get_texts()[0].get_text().startswith("a" * 23 + "..." + "b" * 22)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.confusion(np.eye(2), [LONG, "b"]).figure,
        lambda: plot.mistakes(np.zeros((2, 8, 8)), np.array([0, 1]), np.eye(2), [LONG, "b"]),
        lambda: plot.kernel_at_work(_IMAGE, {LONG: np.ones((3, 3))}),
        lambda: plot.attributions(np.zeros((1, 8, 8, 3)), {LONG: np.zeros((1, 8, 8))}),
    ],
)
def test_long_names_are_cut_in_the_middle(draw):
    figure = draw()
    figure.canvas.draw()
    texts = {text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text"))}
    assert any(SHORT in text for text in texts)
    assert not any(LONG in text for text in texts)


def test_powers_of_ten_and_what_others_wrote_stay_formulas():
    figure, ax = axes.pyplot().subplots()
    ax.set_title("$x^2$")

    @axes.plain_names
    def draw():
        ax.set(yscale="log", ylim=(1, 1e4))
        return ax

    draw()
    figure.canvas.draw()
    assert ax.title.get_parse_math()
    assert all(tick.label1.get_parse_math() for tick in ax.yaxis.get_major_ticks())


def test_pictures_tell_what_they_take():
    with pytest.raises(
        ArgumentError, match=r"^class_names: got it for confusion, which has no such argument; allowed: "
    ):
        fc.plot.confusion([[1, 2], [3, 4]], class_names="ab")
    with pytest.raises(ArgumentError, match=r"^steps: got nothing for schedules; allowed: schedules\("):
        fc.plot.schedules(fc.optim.schedules.Cosine(0.1, 10))
