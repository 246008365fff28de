"""What cannot be drawn is one clear message, of every function and each of its arguments."""

import dataclasses
import inspect
import math
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, plot
from fastconv.errors import ArgumentError, DTypeError, FastconvError, ShapeError
from fastconv.optim import schedules
from fastconv.plot import checking
from fastconv.plot.axes import pyplot
from fastconv.training import History, RangeTest
from fastconv.training import diagnostics as look

from .pictures import AREA, PATHS, bowl, profile, ramp, reports, small_model, statistics

LOSSES = (3.0, 2.0, 1.0, 4.0)
# What each function draws when all is well: every argument is then given, in turn, what it is not made for.
GOOD = {
    "activations": lambda: {"layers": (nn.ReLU(), nn.Tanh())},
    "animate_kernel": lambda: {"image": ramp(5, 5), "kernel": ramp(2, 2)},
    "animate_surface": lambda: {"function": bowl, "paths": PATHS, **AREA},
    "attributions": lambda: {"images": ramp(1, 4, 4), "maps": {"a": ramp(1, 4, 4)}},
    "confusion": lambda: {"counts": np.eye(2)},
    "costs": lambda: {"losses": [fc.losses.MeanSquaredError()]},
    "curves": lambda: {"runs": History({"loss": [2.0, 1.0]})},
    "dead_units": lambda: {"reports": reports()},
    "descend": lambda: {
        "gradient": lambda x, y: (x, y), "optimizer": lambda p: fc.optim.SGD(p, 0.1), "start": (1.0, 1.0), "steps": 1
    },
    "feature_maps": lambda: {"model": small_model(), "image": ramp(10, 10, 1)},
    "filters": lambda: {"layer": small_model().layers[0]},
    "histograms": lambda: {"statistics": statistics()},
    "kernel_at_work": lambda: {"image": ramp(5, 5), "kernels": {"a": ramp(2, 2)}},
    "learning_rate_finder": lambda: {"result": RangeTest((1e-3, 1e-2, 1e-1, 1.0), LOSSES, LOSSES, diverged=False)},
    "matrix": lambda: {"image": ramp(3, 3)},
    "mistakes": lambda: {"images": ramp(2, 4, 4), "labels": np.array([0, 1]), "logits": np.eye(2)},
    "roofline": lambda: {"profile": profile()},
    "schedules": lambda: {"schedules": {"a": schedules.Constant(0.5)}, "steps": 4},
    "sparsity": lambda: {"run": History({"sparsity": [0.1, 0.2]})},
    "sparsity_accuracy": lambda: {"results": {"a": {0.0: 0.9}}},
    "surface": lambda: {"function": bowl, "paths": PATHS, **AREA},
    "update_ratios": lambda: {"records": [look.UpdateRatios(1, {"a": 0.1})]},
    "volumes": lambda: {"model": small_model()},
}  # fmt: skip
BAD = {
    "None": None,
    "a text": "9",
    "no text": "",
    "zero": 0,
    "minus one": -1,
    "a half": 0.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "an empty list": [],
    "an empty dict": {},
    "a list of a number": [1],
    "a list of None": [None],
    "a list of lists of unequal lengths": [[1], [2, 3]],
    "a dict of a number": {"a": 1},
    "a dict of None": {"a": None},
    "a dict of an empty dict": {"a": {}},
    "a dict of a text": {"a": "b"},
    "a dict by number": {1: 2},
    "an array of nothing": np.zeros(0),
    "an array of texts": np.array([["a", "b"]]),
    "an array of objects": np.array([None, {}]),
    "a complex array": np.array([[1j]]),
    "an array of one axis": np.ones(3),
    "an array of two axes, all NaN": np.full((2, 2), math.nan),
    "an array of two axes, negative": np.full((2, 2), -1),
    "an array of three axes": np.ones((2, 2, 5)),
    "an array of four axes": np.ones((2, 2, 2, 2)),
    "an array of five axes": np.ones((1, 1, 1, 1, 1)),
    "an object": object(),
    "a class": nn.ReLU,
    "a function": lambda *given: None,
    "a layer": nn.ReLU(),
    "a history of nothing": History(),
    "a history of NaN": History({"loss": [math.nan], "sparsity": [math.nan]}),
    "a history of texts": History({"loss": ["a"], "sparsity": ["a"]}),
}
# Of what an argument needs, these are good enough.
NEGATIVE = "an array of two axes, negative"
ALLOWED = {
    ("animate_kernel", "image", NEGATIVE),
    ("animate_kernel", "kernel", NEGATIVE),
    ("activations", "layers", "a layer"),
    ("descend", "steps", "zero"),
    ("kernel_at_work", "image", NEGATIVE),
    ("matrix", "image", NEGATIVE),
    ("mistakes", "images", "an array of three axes"),
    ("mistakes", "logits", NEGATIVE),
}
ARGUMENTS = {name: inspect.signature(getattr(plot, name)).parameters for name in GOOD}


def call(name, arguments):
    """Draw, and keep an animation that is not saved from warning."""
    given = dict(arguments)
    made = getattr(plot, name)(*(given.pop("layers") if name == "activations" else ()), **given)
    if hasattr(made, "_draw_was_started"):
        made._draw_was_started = True
    pyplot().close("all")
    return made


def test_every_function_is_among_them():
    assert set(GOOD) == set(plot.__all__) - {"COLOURS"}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_good_is_drawn(name):
    call(name, GOOD[name]())


@pytest.mark.parametrize(
    ("name", "argument"), [(name, each) for name in GOOD for each in ARGUMENTS[name] if each != "ax"]
)
def test_what_is_of_no_use_is_one_clear_message(name, argument):
    drawn, told, good = set(), [], GOOD[name]()
    for words, bad in BAD.items():
        given = (bad,) if (name, argument) == ("activations", "layers") else bad
        try:
            call(name, good | {argument: given})
            drawn.add((name, argument, words))
        except FastconvError as error:
            told.append(str(error))
        except Exception as error:
            raise AssertionError(f"{words}: {type(error).__name__}: {error}") from error
    assert [text for text in told if not re.fullmatch(r".*: got .*; allowed: .*", text)] == []
    if ARGUMENTS[name][argument].default is inspect.Parameter.empty:
        assert drawn <= ALLOWED


@pytest.mark.parametrize("name", [name for name in GOOD if "ax" in ARGUMENTS[name]])
def test_axes_are_axes(name):
    with pytest.raises(ArgumentError, match="ax: got str; allowed: one matplotlib Axes, or None for a new figure"):
        call(name, GOOD[name]() | {"ax": "axes"})
    removed = pyplot().subplots()[1]
    removed.remove()
    with pytest.raises(ArgumentError, match="ax: got one that was removed from its figure; allowed: one of a figure"):
        call(name, GOOD[name]() | {"ax": removed})
    with pytest.raises(ArgumentError, match="ax: got one of the projection 'polar'; allowed: one of a figure, with"):
        call(name, GOOD[name]() | {"ax": pyplot().subplot(projection="polar")})


NAN = math.nan


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.curves(History({"loss": [NAN, NAN]})), ArgumentError, "loss: got no finite value; allowed: at"),
        (lambda: plot.curves({"loss": [1.0]}), ArgumentError, r"runs\['loss'\]: got list; allowed: a History"),
        (
            lambda: plot.curves(History({"loss": ["1"]})),
            ArgumentError,
            r"loss: got \['1'\]; allowed: a sequence of num",
        ),
        (lambda: plot.sparsity(History({"sparsity": [NAN]})), ArgumentError, "sparsity: got no finite value"),
        (
            lambda: plot.sparsity_accuracy({"a": {0.5: []}}),
            ArgumentError,
            r"accuracy of results\['a'\]: got none for sparsity 0\.5; allowed: at least one",
        ),
        (
            lambda: plot.sparsity_accuracy({"a": {50: 0.9}}),
            ArgumentError,
            r"sparsities of results\['a'\]: got 50; allowed: finite numbers, from 0 to 1",
        ),
        (
            lambda: plot.histograms(statistics(), columns=0),
            ArgumentError,
            "columns: got 0; allowed: an int of at least",
        ),
        (
            lambda: plot.dead_units({0: look.DeadUnitReport((), 4)}),
            ArgumentError,
            "reports: got none of a layer; allowed: of at least one activation layer",
        ),
        (
            lambda: plot.mistakes(np.zeros((2, 8, 8, 2)), np.array([0, 1]), np.eye(2)),
            ShapeError,
            r"images: got shape \(2, 8, 8, 2\); allowed: images of 1 channel or 3",
        ),
        (lambda: plot.matrix([[1], [2, 3]]), ShapeError, "image: got rows of several lengths; allowed: 2 axes"),
        (lambda: plot.matrix(np.array([["a"]])), DTypeError, "image: got <U1; allowed: an array of numbers"),
        (lambda: plot.matrix(None), DTypeError, "image: got NoneType; allowed: an array of numbers"),
        (
            lambda: plot.mistakes(small_model(), np.array([0, 1]), np.eye(2)),
            DTypeError,
            "images: got Sequential of Conv2d; allowed: an array of numbers",
        ),
        (lambda: plot.matrix([[None]]), DTypeError, "image: got list of NoneType; allowed: an array of numbers"),
        (lambda: plot.matrix(np.full((2, 2), NAN)), ArgumentError, "image: got no finite value; allowed: at least one"),
        (
            lambda: plot.learning_rate_finder(RangeTest((0.1, 0.2), (NAN, NAN), (NAN, NAN), diverged=True)),
            ArgumentError,
            "losses of result: got no finite value",
        ),
        (
            lambda: plot.surface(lambda x, y: x * NAN, PATHS, **AREA),
            ArgumentError,
            "heights of function: got no finite value",
        ),
        (
            lambda: plot.surface(lambda x, y: 1.0, PATHS, **AREA),
            ShapeError,
            r"heights of function: got shape \(\); allowed: 2 axes",
        ),
        (
            lambda: plot.update_ratios([look.UpdateRatios(1, {"a": "x"})]),
            ArgumentError,
            r"records: got \[1, 'x'\]; allowed: a sequence of numbers",
        ),
        (
            lambda: plot.update_ratios([look.UpdateRatios(1, [0.1])]),
            ArgumentError,
            "ratios of records: got list; allowed: a dict",
        ),
        (
            lambda: plot.roofline(dataclasses.replace(profile(), rows=[look.LayerTime(("a",), ("b",), *"12345678")])),
            ArgumentError,
            r"rows of profile: got \['1', .*; allowed: a sequence of numbers",
        ),
        (
            lambda: plot.surface(bowl, PATHS, x=(-1e308, 1e308), y=(0, 1)),
            ArgumentError,
            r"x: got -1e\+308; allowed: a finite number at least -1e\+300 and below 1e\+300",
        ),
        (lambda: plot.schedules({"a": 0.1}, 4), ArgumentError, r"schedules\['a'\]: got float; allowed: a schedule"),
        (
            lambda: plot.feature_maps(small_model(), ramp(10, 10, 1), layers=[0, 77]),
            ArgumentError,
            r"layers: got \[0, 77\]; allowed: places of layers of this model that put out maps, 0 to 4",
        ),
    ],
)
def test_what_is_wrong_is_named(draw, error, message):
    with pytest.raises(error, match=f"^{message}"):
        draw()


def test_numbers_need_not_be_finite():
    np.testing.assert_array_equal(checking.numbers((1, NAN, math.inf), "values"), [1.0, NAN, math.inf])


@pytest.mark.parametrize("shape", [(3,), (2, 0), ()])
def test_a_picture_of_nothing_is_refused(shape):
    with pytest.raises(ShapeError, match=r"image: got shape .*; allowed: 2 axes, and something in it"):
        checking.on_host(np.zeros(shape), "image", 2)


def test_what_is_too_large_for_axes_is_drawn_as_what_is_infinite():
    """Matplotlib's ranges overflow there: it raised of lengths, or showed another range."""
    ax = plot.curves(History({"loss": [1.0, 1.79e308, 2.0]}))
    ax.figure.canvas.draw()
    assert ax.lines[0].get_ydata().tolist() == [1.0, math.inf, 2.0]
    assert ax.get_ylim()[1] < 3
    assert checking.numbers([-1e301, 1e300], "x").tolist() == [-math.inf, 1e300]
    with pytest.raises(ArgumentError, match="loss: got no finite value"):
        plot.curves(History({"loss": [1.7e308]}))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot.matrix([[1e305, 1.0, -1e200]]),
        lambda: plot.matrix(np.array([[2**63]], np.uint64)),
        lambda: plot.kernel_at_work([[1e305, 1.0]], {"a": [[1.0]]}).axes[0],
        lambda: plot.surface(lambda x, y: np.where(x > 0, 4e307, x), PATHS, **AREA),
        lambda: plot.surface(bowl, {"a": np.array([[0.0, 0.0], [1e308, -1e308], [0.5, 0.5]])}, **AREA),
        lambda: plot.schedules({"a": lambda step: (0.1, 1e308)[step]}, 2),
        lambda: plot.update_ratios([look.UpdateRatios(1, {"a": 1e308, "b": 0.1})]),
        lambda: plot.sparsity(History({"sparsity": [0.5], 3: [1.0]})),
    ],
)
def test_numbers_past_all_axes_leave_the_others_as_they_are(draw):
    """Matplotlib and NumPy warned, which is an error here."""
    draw().figure.canvas.draw()
    pyplot().close("all")
