"""The first array of a step that is not finite is named."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.training.diagnostics import find_non_finite

from .containers import graph_of


class Spoils(nn.Layer):
    """Puts a value into its output, or into the gradient that it passes on."""

    def __init__(self, *, forward=0.0, backward=0.0):
        self.add_forward, self.add_backward = forward, backward

    def forward(self, x, *, training):
        return x + np.float32(self.add_forward), ()

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output + np.float32(self.add_backward)


@pytest.fixture(autouse=True)
def _numpy():
    with fc.use_backend("numpy"), np.errstate(all="ignore"):
        yield


def found_in(*layers, x=None, **keywords):
    model = nn.Sequential(nn.Dense(4), *layers, nn.Dense(3)).build((4,), seed=0)
    x = np.ones((2, 4), np.float32) if x is None else x
    return find_non_finite(model, SoftmaxCrossEntropy(), x, np.array([0, 1], np.int32), **keywords), model


def test_what_is_finite_is_not_found():
    assert found_in(nn.ReLU(), nn.Dropout(0.5))[0] is None


def test_an_output_is_found():
    found, _ = found_in(nn.ReLU(), nn.Residual(nn.Sequential(nn.ReLU(), Spoils(forward=np.nan))))
    assert (found.what, found.where) == ("output", "layer 2.body.1 (Spoils)")
    assert (found.nan, found.infinite, found.size) == (8, 0, 8)
    assert str(found) == "the output of layer 2.body.1 (Spoils) (8 NaN and 0 infinite of 8)"
    assert found.to_dict()["nan"] == 8


def test_a_gradient_is_found():
    found, _ = found_in(Spoils(), Spoils(backward=np.inf), nn.ReLU())
    assert (found.what, found.where, found.infinite) == ("gradient", "the input of layer 2 (Spoils)", 8)


def test_the_gradient_of_a_parameter_is_found():
    """An output so large that times a gradient it overflows."""
    x = np.full((2, 4), 3e38, np.float32)
    model = nn.Sequential(nn.Dense(2, bias=False)).build((4,))
    model.parameters()[0].data = np.zeros((4, 2), np.float32)

    def loss(predictions, targets):
        return np.float32(0), np.full_like(predictions, 2)

    found = find_non_finite(model, loss, x, np.array([0, 1], np.int32))
    assert (found.what, found.where) == ("parameter's gradient", "0.weight, layer 0 (Dense)")


def test_a_loss_is_found():
    model = nn.Sequential(nn.Dense(2)).build((4,))

    def loss(predictions, targets):
        return np.float32(np.nan), 0 * predictions

    assert find_non_finite(model, loss, np.ones((1, 4), np.float32), np.zeros(1, np.int32)).what == "loss"


def test_what_was_there_before_is_found_first():
    x = np.ones((2, 4), np.float32)
    x[1, 2] = np.nan
    assert found_in(x=x)[0].what == "input"
    model = nn.Sequential(nn.Dense(3)).build((4,))
    model.parameters()[1].data = np.array([0, np.inf, 0], np.float32)
    found = find_non_finite(model, SoftmaxCrossEntropy(), x, np.array([0, 1], np.int32))
    assert (found.what, found.where, found.infinite) == ("parameter", "0.bias", 1)


def test_the_first_layer_of_a_row_in_a_graph_is_found():
    model = graph_of(nn.Conv2d(4, 3), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Dense(3)).build((4, 4, 1), seed=0)
    model.parameters()[0].data = np.full((3, 3, 1, 4), 3e38, np.float32)
    x, y = np.ones((2, 4, 4, 1), np.float32), np.array([0, 1], np.int32)
    assert find_non_finite(model, SoftmaxCrossEntropy(), x, y).where == "layer n0 (Conv2d)"
