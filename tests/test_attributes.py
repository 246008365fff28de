"""What a derived class computes as, and whose settings speak for it."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from fastconv import Trainer, losses, nn, optim
from fastconv._attributes import computes_as, settings_of
from fastconv.data import DataLoader
from fastconv.errors import ArgumentError, UnknownAttributeError


class Named(nn.Dropout):
    """Other arguments and new names only."""

    size = 3

    def __init__(self, percent: int) -> None:
        super().__init__(percent / 100)

    def describe(self) -> str:
        return f"{self.p:%}"


class NamedAgain(Named):
    """What is defined anew is nothing of fastconv's."""

    size = 4

    def describe(self) -> str:
        return "none"


class Computing(Named):
    """Something of fastconv's."""

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output


class Declaring(Computing):
    """With settings of its own."""

    def settings(self):
        return {"percent": 1}


class Undeclared(Declaring):
    """Which do not speak for what is computed here."""

    def forward(self, x, *, training):
        return x, None


class Own(nn.Layer):
    """A layer from scratch."""

    def forward(self, x, *, training):
        return x, None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output


class Listing(Own):
    """Which names what decides."""

    setting_names = ("factor",)

    def __init__(self):
        self.factor = 3


class ListingAgain(nn.Conv2d):
    """Whose names stand in place of all that the convolution declares, which it does not compute."""

    setting_names = ("factor",)
    factor = 4

    def forward(self, x, *, training):
        return x, None


@pytest.mark.parametrize(
    ("layer", "kind", "settings"),
    [
        (nn.Dropout(0.5), nn.Dropout, {"p": 0.5}),
        (nn.ReLU(), nn.ReLU, {}),
        (Named(50), nn.Dropout, {"p": 0.5}),
        (NamedAgain(50), nn.Dropout, {"p": 0.5}),
        (Computing(50), Computing, None),
        (Declaring(50), Declaring, {"percent": 1}),
        (Undeclared(50), Undeclared, None),
        (Own(), Own, None),
        (Listing(), Listing, {"factor": 3}),
        (ListingAgain(8, 3), ListingAgain, {"factor": 4}),
    ],
)
def test_what_is_defined_anew_decides(layer, kind, settings):
    assert computes_as(type(layer)) is kind
    assert settings_of(layer) == settings


def test_a_function_has_no_settings():
    assert settings_of(len) is None
    assert settings_of(lambda predictions, targets: None) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adam([], betas=(0.9, 0.999)), "betas: got it for Adam.*nearest: 'beta1', 'beta2'"),
        (lambda: optim.AdamW([], betas=(0.9, 0.999)), "betas: got it for AdamW.*nearest: 'beta1', 'beta2'"),
        (lambda: optim.NAdam([], betas=(0.9, 0.999)), "betas: got it for NAdam.*nearest: 'beta1', 'beta2'"),
        (lambda: optim.SGD([], betas=1), r"betas: got it for SGD.*allowed: parameters, lr, .*l1$"),
        (lambda: nn.Conv2d(filters=16, kernel_size=3), "filters: got it for Conv2d.*nearest: 'out_channels'"),
        (lambda: nn.Dense(units=3), "units: got it for Dense.*nearest: 'out_features'"),
        (lambda: losses.Huber(detla=2.0), "detla: got it for Huber.*nearest: 'delta'"),
        (lambda: nn.Identity(size=3), "size: got it for Identity.*allowed: none$"),
        (lambda: nn.Dense(3, kernel_regularizer="l1"), r"kernel_regularizer: .* Dense.*the optimizer's.*2 \* b, l1="),
    ],
)
def test_an_argument_of_elsewhere_is_told_its_name_here(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (nn.Dense, ["out_features", "bias", "in_features", "init"]),
        (nn.ELU, ["alpha"]),
        (nn.Identity, []),
        (Named, ["percent"]),
        (losses.Huber, ["delta", "reduction"]),
    ],
)
def test_help_shows_what_a_class_takes(cls, names):
    assert list(inspect.signature(cls).parameters) == names


def _made() -> dict[str, object]:
    model = nn.Sequential(nn.Dense(2)).build((3,))
    optimizer = optim.SGD(model.parameters(), 0.1)
    trainer = Trainer(model, losses.SoftmaxCrossEntropy(), optimizer)
    return {"model": model, "optimizer": optimizer, "trainer": trainer, "loader": DataLoader((np.zeros((2, 3)),) * 2)}


@pytest.mark.parametrize(
    ("which", "name", "kind"),
    [
        ("model", "parameters", "a method, to be called"),
        ("model", "zero_grad", "a method, to be called"),
        ("model", "dtype", "a value to be read"),
        ("model", "backend", "a value to be read"),
        ("optimizer", "zero_grad", "a method, to be called"),
        ("trainer", "evaluate", "a method, to be called"),
        ("loader", "num_samples", "a value to be read"),
    ],
)
def test_no_value_takes_the_place_of_something_else(which: str, name: str, kind: str) -> None:
    """A method that is overwritten would fail far from here, or be silently left out."""
    owner = _made()[which]
    words = f"{name}: got 7 in the place of {kind}, of {type(owner).__name__}; allowed: no new value"
    with pytest.raises(UnknownAttributeError, match=f"^{words}$"):
        setattr(owner, name, 7)


def test_another_function_may_take_the_place_of_a_method() -> None:
    trainer = _made()["trainer"]
    trainer.evaluate = lambda data: {"loss": 0.0}  # type: ignore[attr-defined]
    assert trainer.evaluate(None) == {"loss": 0.0}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("which", "name"), [("model", "forward"), ("model", "backward"), ("optimizer", "step"), ("optimizer", "update")]
)
def test_no_function_takes_the_place_of_what_is_computed(which: str, name: str) -> None:
    """Layers that run as one, and steps that are repeated, never called it."""
    owner = _made()[which]
    words = (
        f"{name}: got .* of {type(owner).__name__}; allowed: a class derived from {type(owner).__name__} that defines"
    )
    for each in (owner, owner[0]) if which == "model" else (owner,):  # type: ignore[index]
        with pytest.raises(UnknownAttributeError, match=words.replace("Sequential", type(each).__name__)):
            setattr(each, name, getattr(each, name))
