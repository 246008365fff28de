"""What layers of somebody's own say that they hold."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError


class Holder(nn.Layer):
    """A layer around one, which it names as it likes."""

    def __init__(self, children):
        self.inner, self.say = nn.Dense(2), children

    def children(self):
        return self.say(self)

    def setup(self, input_shape, scope):
        return scope.child("inner", self.inner, input_shape)

    def infer(self, input_shape):
        return self.inner.infer(input_shape)

    def forward(self, x, *, training):
        return self.inner.forward(x, training=training)

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return self.inner.backward(grad_output, context, needs_input_grad=needs_input_grad)


@pytest.mark.parametrize(
    ("children", "got"),
    [
        (lambda s: None, "None"),
        (lambda s: s.inner, "Dense(2)"),
        (lambda s: [s.inner], "[Dense(2)]"),
        (lambda s: {"inner": s.inner}, "{'inner': Dense(2)}"),
        (lambda s: (each for each in [("inner", s.inner)]), "<generator object"),
        (lambda s: zip(["inner"], [s.inner], strict=True), "<zip object"),
        (lambda s: [("inner", s.inner, 1)], "[('inner', Dense(2), 1)]"),
        (lambda s: [("inner", s.inner), ("other", None)], "None under 'other'"),
        (lambda s: {"inner": s.inner, "other": None}.items(), "None under 'other'"),
        (lambda s: [("inner", [s.inner])], "[Dense(2)] under 'inner'"),
        (lambda s: [("inner", nn.ReLU)], "the class ReLU under 'inner'"),
    ],
)
def test_what_is_no_list_of_layers_is_refused(children, got):
    """Where a model is built, shown and summed up: these were errors of Python's own."""
    message = f"^children of Holder: got {re.escape(got)}.*; allowed: a list of names and layers, such as"
    with fc.use_backend("numpy"):
        for use in (
            lambda model: model.build((3,)),
            lambda model: nn.Sequential(model, nn.ReLU()).build((3,)),
            lambda model: model.summary((3,)),
            repr,
        ):
            with pytest.raises(ArgumentError, match=message):
                use(Holder(children))


@pytest.mark.parametrize(
    "children",
    [
        lambda s: [("inner", s.inner)],
        lambda s: (("inner", s.inner),),
        lambda s: [["inner", s.inner]],
        lambda s: {"inner": s.inner}.items(),
    ],
)
def test_names_and_layers_may_come_in_any_sequence(children):
    with fc.use_backend("numpy"):
        model = nn.Sequential(Holder(children), nn.ReLU()).build((3,))
        assert [parameter.name for parameter in model.parameters()] == ["0.inner.weight", "0.inner.bias"]
        assert model(np.zeros((1, 3), np.float32)).shape == (1, 2)


def test_an_error_within_children_is_told_as_it_is():
    with pytest.raises(AttributeError, match=r"^missing: got an attribute that Holder has not"):
        Holder(lambda s: [("inner", s.missing)]).build((3,))
