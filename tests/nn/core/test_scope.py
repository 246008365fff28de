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


def test_an_attribute_that_its_own_class_never_sets_is_none_of_a_layer_around_it():
    class Declaring(Half):
        width: int

        def setup(self, input_shape, scope):
            return scope.child("second", self.second, scope.child("first", self.first, input_shape))

    model = Declaring()
    with pytest.raises(AttributeError, match=r"width: got a Declaring that is not built"):
        _ = model.width
    with pytest.raises(AttributeError, match=r"width: got an attribute that Declaring has not"):
        _ = model.build((2,)).width


def test_each_layer_inside_has_a_name_of_its_own(backend):
    """Two of one name were drawn alike, and a file had one of them."""

    class Twice(Half):
        names = ("first", "first")

        def setup(self, input_shape, scope):
            for name, layer in zip(self.names, (self.first, self.second), strict=True):
                input_shape = scope.child(name, layer, input_shape)
            return input_shape

    model = nn.Sequential(Twice(), nn.ReLU())
    message = r"^layer 0.first \(Dense\): name: got '0.first.weight' for two tensors; allowed: scope.child"
    for use in (lambda: model.build((2,)), lambda: model.summary((2,))):
        with pytest.raises(ArgumentError, match=message):
            use()
    Twice.names = ("first", "first.second")
    assert len(model.build((2,)).parameters()) == 4


class Late(nn.Layer):
    """Makes what is inside when it knows the shape; in each build, or once."""

    inner = None

    def __init__(self, *, once):
        self.once = once

    def children(self):
        return [] if self.inner is None else [("inner", self.inner)]

    def setup(self, input_shape, scope):
        if self.inner is None or not self.once:
            self.inner = nn.Dense(2 * input_shape[-1])
        return scope.child("inner", self.inner, input_shape)

    def infer(self, input_shape):
        return (2 * input_shape[-1],)

    def forward(self, x, *, training):
        return self.inner.forward(x, training=training)

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return self.inner.backward(grad_output, context, needs_input_grad=needs_input_grad)


@pytest.mark.parametrize("once", [False, True])
def test_setup_may_make_the_layers_inside(backend, once):
    """`build` took those that it found before for all that there are."""
    model = nn.Sequential(Late(once=once), nn.ReLU(), nn.Dense(2))
    rows = [(row.name, row.kind) for row in model.summary((3,)).rows]
    assert rows == [("0.inner", "Dense"), ("1", "ReLU"), ("2", "Dense")]
    model.build((3,), seed=0)
    assert [parameter.name for parameter in model.parameters()][:2] == ["0.inner.weight", "0.inner.bias"]
    assert model(fc.asarray(np.zeros((1, 3), np.float32))).shape == (1, 2)
    before, optimizer = fc.to_numpy(model[0].inner.weight.data).copy(), fc.optim.SGD(model.parameters(), 0.1)
    model.build((3,), seed=1)
    assert (fc.to_numpy(model[0].inner.weight.data) != before).all()
    with pytest.raises(ArgumentError, match="parameters: got those of a model that was built again"):
        optimizer.step()
    inner, optimizer = model[0].inner, fc.optim.SGD(model[0].parameters(), 0.1)
    model.build((3,), seed=2)  # the optimizer is of what `setup` may have put aside
    assert (model[0].inner is inner) is once
    with pytest.raises(ArgumentError, match="parameters: got those of a model that was built again"):
        optimizer.step()


def test_setup_that_makes_layers_anew_loses_no_values(backend):
    kept = nn.Sequential(Late(once=True), nn.Dense(2)).build((3,), seed=0)
    weight = fc.to_numpy(kept[0].inner.weight.data).copy()
    other = nn.Sequential(*kept.layers[:-1], nn.Dense(5)).build((3,), seed=1)
    np.testing.assert_array_equal(fc.to_numpy(other[0].inner.weight.data), weight)
    model = nn.Sequential(Late(once=False), nn.Dense(2)).build((3,), seed=0)
    inner, weight = model[0].inner, fc.to_numpy(model[0].inner.weight.data).copy()
    with pytest.raises(ArgumentError, match=r"^setup: got one that makes layers anew, where a built Dense was that is"):
        nn.Sequential(*model.layers[:-1], nn.Dense(5)).build((3,), seed=1)
    assert model[0].inner is inner
    np.testing.assert_array_equal(fc.to_numpy(inner.weight.data), weight)
