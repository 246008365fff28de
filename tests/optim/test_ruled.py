"""Optimizers of the list: signatures, docstrings and checks of the settings that their rules declare."""

import inspect
import pydoc

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim import SGD, Adam, Muon
from fastconv.optim.ruled import RuledOptimizer, takes
from tests.optim.listed import OPTIMIZERS


@pytest.fixture
def parameters():
    with fc.use_backend("numpy"):
        yield fc.nn.Dense(2).build((3,), np.float64).parameters()


def shown(cls):
    """The signature as `help` shows it, without types."""
    found = inspect.signature(cls)
    assert list(inspect.signature(cls.__init__).parameters.values())[1:] == list(found.parameters.values())
    plain = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def test_signatures_name_all_settings_with_their_defaults():
    assert shown(SGD) == (
        "(parameters, lr=0.001, momentum=0.0, nesterov=False, weight_decay=0.0, *, dampening=0.0, l1=0.0)"
    )
    assert shown(Adam) == (
        "(parameters, lr=0.001, *, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, amsgrad=False, l1=0.0)"
    )
    assert shown(Muon) == (
        "(parameters, lr=0.001, *, weight_decay=0.1, momentum=0.95, nesterov=True, eps=1e-07,"
        " ns_coefficients=(3.4445, -4.775, 2.0315), ns_steps=5, adjust_lr_fn=None, normalize=False)"
    )
    assert "SGD(parameters: 'Trained', lr: 'float' = 0.001, momentum: 'float' = 0.0," in pydoc.render_doc(SGD)


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda cls: cls.__name__)
def test_docstrings_tell_of_each_setting_once_and_in_order(cls):
    doc = inspect.getdoc(cls)
    told = doc.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    heads = [line.partition(" : ")[0] for line in told.splitlines() if not line.startswith(" ")]
    assert ", ".join(heads).split(", ") == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda cls: cls.__name__)
def test_settings_are_attributes(cls):
    with fc.use_backend("numpy"):
        layer = fc.nn.Dense(2, bias=False).build((3,), np.float64)
        optimizer = cls(layer.parameters(), **{scalar.name: scalar.default for scalar in cls.scalars})
        again = cls(layer.parameters())
        for scalar in cls.scalars:
            assert getattr(optimizer, scalar.name) == getattr(again, scalar.name) == scalar.default


def test_some_of_sgd_go_by_their_places(parameters):
    assert SGD(parameters, 0.1, 0.9, True, 0.01).settings() == {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.01,
        "dampening": 0.0,
        "l1": 0.0,
    }
    assert SGD(parameters, 0.1, 0.9, weight_decay=0.01).weight_decay == 0.01
    with pytest.raises(ArgumentError, match=r"without a name for .*; allowed: "):
        SGD(parameters, 0.1, 0.9, True, 0.01, 0.2)
    with pytest.raises(ArgumentError, match="momentum: got two values for SGD"):
        SGD(parameters, 0.1, 0.9, momentum=0.8)
    with pytest.raises(ArgumentError, match=r"without a name for .*; allowed: "):
        Adam(parameters, 0.1, 0.9)
    with pytest.raises(ArgumentError, match="parameters: got nothing for SGD"):
        SGD()


def test_own_optimizers_of_a_rule(parameters):
    class Plain(RuledOptimizer):
        """Without words on settings."""

        rule = UPDATE_RULES["rmsprop"]

        @takes(rule.scalars)
        def __init__(self, parameters, **settings):
            super().__init__(parameters, 0.5, **settings)

    class Bare(RuledOptimizer):
        rule = UPDATE_RULES["rmsprop"]

    made = Plain(parameters, alpha=0.5)
    assert (made.lr, made.alpha, made.eps) == (0.5, 0.5, 1e-8)
    assert "l1 : float\n    L1 penalty" in Plain.__doc__
    for cls in (Plain, Bare):
        with pytest.raises(ArgumentError, match=r"alpha: got 1.5; allowed: a finite number at least 0 and below 1"):
            cls(parameters, lr=0.1, alpha=1.5) if cls is Bare else cls(parameters, alpha=1.5)
        with pytest.raises(ArgumentError, match=r"alhpa: got it for .*, which has no such argument; .*'alpha'"):
            cls(parameters, lr=0.1, alhpa=0.5) if cls is Bare else cls(parameters, alhpa=0.5)
    assert Bare(parameters, 0.1, 0.5).alpha == 0.5
    assert Bare.__doc__ is None
