"""The numbers behind the lines of activations and cost functions."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, plot
from fastconv.errors import ArgumentError


@pytest.mark.float64
def test_activations_and_their_gradients(backend):
    figure = plot.activations(nn.ReLU(), nn.Tanh(), nn.ELU(0.5), low=-2, high=3)
    left, right = figure.axes
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose([x[0], x[-1]], [-2, 3])
    np.testing.assert_allclose(y, np.maximum(x, 0))
    np.testing.assert_allclose(left.lines[1].get_ydata(), np.tanh(x), atol=1e-12)
    np.testing.assert_allclose(right.lines[1].get_ydata(), 1 - np.tanh(x) ** 2, atol=1e-12)
    np.testing.assert_allclose(right.lines[2].get_ydata(), np.where(x > 0, 1, 0.5 * np.exp(x)), atol=1e-12)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["ReLU()", "Tanh()", "ELU(alpha=0.5)"]


def test_costs_around_a_target(backend):
    ax = plot.costs({"squared": fc.losses.MeanSquaredError(), "absolute": fc.losses.MeanAbsoluteError()}, target=1.0)
    x, squared = ax.lines[0].get_data()
    np.testing.assert_allclose(squared, (x - 1) ** 2)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.abs(x - 1))
    assert plot.costs([fc.losses.Huber(2.0)], ax=ax) is ax


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.activations(), "layers: got none"),
        (lambda: plot.activations(nn.ReLU(), low=1, high=1), "low: got 1; allowed: a number below high"),
        (lambda: plot.activations(nn.Flatten()), r"layers: got Flatten\(\) among them"),
        (lambda: plot.costs({}), "losses: got none"),
    ],
)
def test_nothing_to_draw(draw, message):
    with pytest.raises(ArgumentError, match=message):
        draw()
