"""The numbers behind the curves of runs."""

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError
from fastconv.training import History

RUN = History({"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.5, 1.4], "accuracy": [0.1, 0.5, 0.9]})


def test_training_and_validation_of_one_run():
    ax = plot.curves(RUN)
    np.testing.assert_array_equal(ax.lines[0].get_data(), [[1, 2, 3], [2.0, 1.0, 0.5]])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [2.1, 1.5, 1.4])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_runs_side_by_side_in_given_axes():
    ax = plot.curves({"a": RUN, "b": History({"accuracy": [0.2]})}, "accuracy")
    assert plot.curves(RUN, "accuracy", ax=ax) is ax
    assert [line.get_label() for line in ax.lines] == ["a training", "b training", "training"]


def test_what_is_not_there_is_told():
    with pytest.raises(ArgumentError, match="quantity: got 'acc'; allowed: accuracy, loss"):
        plot.curves(RUN, "acc")
    for nothing in ({}, History(), {"a": History()}):
        with pytest.raises(ArgumentError, match="runs: got nothing; allowed: at least one run with an epoch"):
            plot.curves(nothing)


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    ax = plot.curves({"_a": RUN, "b": RUN}, "accuracy")
    assert [text.get_text().strip() for text in ax.get_legend().get_texts()] == ["_a training", "b training"]


def test_a_name_is_no_formula():
    ax = plot.curves({"$x_{$": RUN})
    ax.figure.canvas.draw()
    assert ax.get_legend().get_texts()[0].get_text() == "$x_{$ training"


def test_validation_alone_is_drawn():
    (line,) = plot.curves(History({"val_loss": [2.0, 1.0]})).lines
    assert (line.get_label(), line.get_linestyle()) == ("validation", "--")
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 1.0])


def test_runs_and_their_validation_are_told_apart_without_colours():
    ax = plot.curves({str(number): RUN for number in range(8)})
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == len(ax.lines) == 16
