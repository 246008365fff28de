"""What layers of one's own declare is checked where they declare it."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, ShapeError


class Declares(nn.Identity):
    """Declares what a function says."""

    def __init__(self, declare):
        self.declare = declare

    def setup(self, input_shape, scope):
        self.tensor = self.declare(scope)
        return input_shape


@pytest.mark.parametrize(
    ("declare", "kind", "message"),
    [
        (
            lambda s: s.parameter("w", (-3,), init=0),
            ShapeError,
            r"w: got shape \(-3,\); allowed: a tuple of ints, none",
        ),
        (lambda s: s.parameter("w", 3, init=0), ShapeError, "w: got shape 3; allowed: a tuple of ints"),
        (lambda s: s.parameter("w", (2.5,), init=0), ShapeError, r"w: got shape \(2\.5,\); allowed"),
        (lambda s: s.buffer("w", None, value=0), ShapeError, "w: got shape None; allowed"),
        (lambda s: s.parameter(3, (3,), init=0), ArgumentError, "name: got 3; allowed: a text"),
        (lambda s: s.buffer("", (3,), value=0), ArgumentError, "name: got ''; allowed: a text"),
        (lambda s: s.parameter("a/b", (3,), init=0), ArgumentError, "name: got 'a/b'; allowed: a text without '/'"),
        (lambda s: s.child("a/b", nn.ReLU(), (3,)), ArgumentError, "name: got 'a/b'; allowed: a text without '/'"),
        (
            lambda s: s.parameter("w", (3,), init=max),
            ArgumentError,
            "init: got .*; allowed: .*ones, or a number",
        ),
        (lambda s: s.parameter("w", (3,), init=np.zeros(3)), ArgumentError, r"init: got array.*, or a number"),
        (
            lambda s: s.parameter("w", (3,), init="default", fan_in=0),
            ArgumentError,
            "fan_in: got 0; allowed: an int",
        ),
        (lambda s: s.buffer("w", (3,), value="s"), ArgumentError, "value: got 's'; allowed: a number"),
    ],
)
def test_what_is_declared_is_checked(declare, kind, message):
    with fc.use_backend("numpy"), pytest.raises(kind, match=rf"^layer 0 \(Declares\): {message}"):
        nn.Sequential(Declares(declare)).build((3,))


def test_what_is_declared_is_kept():
    with fc.use_backend("numpy"):
        layer = Declares(lambda scope: scope.parameter("w", [2, np.int64(0)], init=np.float32(0.5))).build((3,))
        assert layer.tensor.shape == (2, 0)
        lowest = Declares(lambda scope: scope.buffer("low", (1,), value=-np.inf)).build((3,))
        assert lowest.tensor.data.tolist() == [-np.inf]


class Half(nn.Layer):
    """One that says half of what it is made of."""

    def __init__(self):
        self.first, self.second = nn.Dense(4), nn.Dense(3)

    def children(self):
        return [("first", self.first), ("second", self.second)]

    def infer(self, input_shape):
        return (3,)

    def setup(self, input_shape, scope):
        return self.second.infer(scope.child("first", self.first, input_shape))

    def forward(self, x, *, training):
        return self.second(self.first(x)), None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return None


def test_all_that_is_inside_is_named_and_set_up():
    class Unnamed(Half):
        def children(self):
            return []

    with pytest.raises(ArgumentError, match=r"children: got none of '0.first', a Dense that setup sets up; allowed"):
        nn.Sequential(Unnamed(), nn.ReLU()).build((2,))
    model = Half().build((2,))
    with pytest.raises(AttributeError, match=r"weight: got a Dense within a layer that does not set it up; allowed"):
        model(fc.asarray(np.zeros((1, 2), np.float32)))
