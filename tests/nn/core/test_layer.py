"""Names: those that do nothing are refused and tell what to write; what ``print`` shows of layers and models."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, UnknownAttributeError
from fastconv.nn.core.habits import HABITS
from tests.nn.layers.test_layers import LAYERS


def layer_of(name: str) -> nn.Layer:
    make, shape = LAYERS[name]
    return make().build(shape[1:])


@pytest.fixture(autouse=True)
def _reference():
    with fc.use_backend("numpy"):
        yield


@pytest.mark.parametrize("attribute", ["trainable", "requires_grad", "kernal_size", "training", "rate"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse_what_they_do_not_have(name, attribute):
    for layer in (LAYERS[name][0](), layer_of(name)):
        with pytest.raises(UnknownAttributeError, match=f"{attribute}: got an attribute that {type(layer).__name__}"):
            setattr(layer, attribute, False)
        assert not hasattr(layer, attribute)


def test_freezing_is_told():
    model = nn.Sequential(nn.Dense(2)).build((3,))
    for target in (model, model.layers[0], *model.parameters()):
        for name in ("requires_grad", "trainable"):
            with pytest.raises(AttributeError, match=r"layer\.freeze\(\) and layer\.unfreeze\(\)"):
                setattr(target, name, False)
            with pytest.raises(UnknownAttributeError, match=r"layer\.freeze"):
                getattr(target, name)


def test_tensors_refuse_what_they_do_not_have():
    layer = nn.BatchNorm2d().build((3,))
    for tensor in layer.tensors():
        for name in ("requires_grad", "trainable", "gradient", "value", "lr"):
            with pytest.raises(AttributeError, match=name):
                setattr(tensor, name, False)


def test_what_a_layer_has_can_be_set(rng):
    norm, drop = nn.BatchNorm2d().build((3,)), nn.Dropout(0.5).build((3,))
    x = rng.standard_normal((4, 3)).astype(np.float32)
    before = norm(x)
    norm.eps, drop.p = 0.5, 0.0
    assert not np.allclose(norm(x), before)
    np.testing.assert_array_equal(drop.forward(x, training=True)[0], x)


@pytest.mark.parametrize("habit", [name for name in HABITS if not hasattr(nn.Sequential, name)])
def test_habits_say_what_to_write(habit):
    model = nn.Sequential(nn.Dense(2))
    with pytest.raises(UnknownAttributeError, match=f"^{habit}: got .*Sequential has not; allowed: its own \\(.+\\)$"):
        getattr(model, habit)


def test_a_misspelled_attribute_is_told_the_nearest_one():
    model = nn.Sequential(nn.Dense(2)).build((3,))
    for owner, name, near in ((model, "sumary", "summary"), (nn.ELU(), "alpa", "alpha")):
        with pytest.raises(UnknownAttributeError, match=f"^{name}: got .* allowed: its own \\(nearest: '{near}'\\)$"):
            getattr(owner, name)
        assert not hasattr(owner, name)


class Own(nn.Layer):
    """Sets what it likes: in __init__, in setup, in forward."""

    def __init__(self) -> None:
        self.trainable = True
        self.notes: list[str] = []

    def setup(self, input_shape, scope):
        self.requires_grad = [1]
        self.gain = scope.parameter("gain", (), init="ones")
        return input_shape

    def forward(self, x, *, training):
        self.last = x
        return x * self.gain.array, (x if training else None)

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output


class Derived(nn.Sequential):
    """A model of one's own."""


def test_own_layers_set_what_they_like():
    own = Own()
    own.comment = "mine"
    own.trainable = False
    model = nn.Sequential(own, nn.Dense(2)).build((3,))
    x = np.ones((1, 3), np.float32)
    model(x)
    assert own.last is x
    assert (own.trainable, own.requires_grad, own.comment) == (False, [1], "mine")
    derived = Derived(nn.Dense(2))
    derived.comment = "mine"
    with pytest.raises(UnknownAttributeError, match="trainable"):
        derived.trainable = False


def test_parameters_and_layers_are_not_replaced():
    """A weight, or a layer of a model, that another one is put in place of would not be what is computed with."""
    conv = nn.Conv2d(2, 3)
    model = nn.Sequential(nn.Residual(nn.Sequential(conv, nn.BatchNorm2d()), nn.Conv2d(2, 3)), nn.ReLU())
    model.build((5, 5, 2))
    with pytest.raises(ArgumentError, match=r"weight: got ndarray; allowed: weight\.data = values"):
        conv.weight = np.zeros((3, 3, 2, 2))
    with pytest.raises(ArgumentError, match="bias: got NoneType"):
        conv.bias = None
    with pytest.raises(ArgumentError, match=r"weight: got Parameter; .* by a layer that stands in several places"):
        model.layers[0].shortcut.weight = conv.weight
    conv.weight = conv.weight  # the same one
    with pytest.raises(ArgumentError, match=r"weight: got Parameter for a Conv2d that is not built; .* after build"):
        nn.Conv2d(2, 3).weight = conv.weight
    for target, name, value in (
        (model, "layers", ()),
        (model.layers[0], "body", nn.ReLU()),
        (model.layers[0], "shortcut", nn.ReLU()),
        (nn.Parallel(conv, conv), "branches", (conv,)),
    ):
        with pytest.raises(ArgumentError, match=f"{name}: got other layers"):
            setattr(target, name, value)


def test_parameters_of_ones_own_layers_are_not_replaced():
    class Shift(nn.Layer):
        def setup(self, input_shape, scope):
            self.offset = scope.parameter("offset", input_shape[-1:], init=0.5)
            return input_shape

        def forward(self, x, *, training):
            return x + self.offset.array, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    layer, other = Shift(), Shift()
    nn.Sequential(layer, other).build((2,))
    for value in (other.offset, np.zeros(2, np.float32), None):
        with pytest.raises(ArgumentError, match=r"offset: got \w+; allowed: offset\.data = values"):
            layer.offset = value
    layer.last = other.offset  # what is none of its own


REPRESENTATIONS = {
    "Conv2d(16, 3, padding=1)": lambda: nn.Conv2d(16, 3, padding=1),
    "Conv2d(16, (3, 5), stride=(2, 1), padding='same', groups=2, bias=False, init='he_normal')": lambda: nn.Conv2d(
        16, (3, 5), stride=(2, 1), padding="same", groups=2, bias=False, init="he_normal"
    ),
    "Conv2d(4, 2, padding=((1, 0), (0, 2)), dilation=2, in_channels=4)": lambda: nn.Conv2d(
        4, (2, 2), padding=((1, 0), (0, 2)), dilation=2, in_channels=4
    ),
    "Conv2d(4, 3, padding=(1, 2))": lambda: nn.Conv2d(4, 3, padding=((1, 1), (2, 2)), stride=(1, 1)),
    "Dense(10)": lambda: nn.Dense(10),
    "Dense(10, bias=False)": lambda: nn.Dense(10, bias=False),
    "MaxPool2d(2)": lambda: nn.MaxPool2d(2, stride=2),
    "MaxPool2d(3, stride=2, padding=1, ceil_mode=True)": lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
    "AvgPool2d(3, count_include_pad=False)": lambda: nn.AvgPool2d(3, count_include_pad=False),
    "BatchNorm2d()": nn.BatchNorm2d,
    "BatchNorm2d(eps=0.1)": lambda: nn.BatchNorm2d(eps=0.1),
    "Dropout()": nn.Dropout,
    "Dropout(p=0.25)": lambda: nn.Dropout(0.25),
    "Scale(2.0)": lambda: nn.Scale(2),
    "LeakyReLU(slope=0.3)": lambda: nn.LeakyReLU(0.3),
    "SubsamplePad(9, stride=2)": lambda: nn.SubsamplePad(9, stride=2),
    "GlobalMaxPool2d()": nn.GlobalMaxPool2d,
    "ConvTranspose2d(4, 3, stride=2, output_padding=(1, 0))": lambda: nn.ConvTranspose2d(
        4, 3, stride=2, output_padding=(1, 0)
    ),
    "DepthwiseConv2d(3, padding=1)": lambda: nn.DepthwiseConv2d(3, padding=1),
    "GroupNorm(2, affine=False)": lambda: nn.GroupNorm(2, affine=False),
    "LocalResponseNorm(size=3)": lambda: nn.LocalResponseNorm(3),
    "AdaptiveAvgPool2d((2, 1))": lambda: nn.AdaptiveAvgPool2d((2, 1)),
    "Upsample(2)": lambda: nn.Upsample((2, 2)),
    "PReLU(num_parameters=3)": lambda: nn.PReLU(3),
    "Maxout(2)": lambda: nn.Maxout(2),
}


@pytest.mark.parametrize("text", REPRESENTATIONS)
def test_layers_are_shown_as_they_are_written(text):
    assert repr(REPRESENTATIONS[text]()) == text


@pytest.mark.parametrize("name", LAYERS)
def test_no_representation_is_an_address(name):
    unbuilt, built = LAYERS[name][0](), layer_of(name)
    assert repr(unbuilt) == repr(built) == str(built)
    assert " at 0x" not in repr(built)


def test_settings_are_shown_as_they_are_now():
    norm = nn.BatchNorm2d()
    norm.eps = 0.5
    assert repr(norm) == "BatchNorm2d(eps=0.5)"


def test_models_are_trees():
    block = nn.Residual(nn.Sequential(nn.Conv2d(4, 3, padding=1), nn.BatchNorm2d()))
    model = nn.Sequential(
        block, nn.Parallel(nn.ReLU(), nn.Conv2d(2, 1), mode="concatenate"), nn.Parallel(nn.ReLU(), Own())
    )
    assert str(model) == inspect.cleandoc(
        """
        Sequential:
            0: Residual:
                body: Sequential:
                    0: Conv2d(4, 3, padding=1)
                    1: BatchNorm2d()
                shortcut: Identity()
            1: Parallel(mode='concatenate'):
                0: ReLU()
                1: Conv2d(2, 1)
            2: Parallel:
                0: ReLU()
                1: Own()
        """
    )
    assert repr(nn.Parameter("0.weight", (2, 3))) == "Parameter('0.weight', shape=(2, 3))"


@pytest.mark.parametrize("container", [nn.Sequential, nn.Parallel])
@pytest.mark.parametrize("kind", [list, tuple])
def test_containers_take_a_list(container, kind):
    layers = [nn.Dense(2), nn.ReLU(), nn.Dense(2)]
    assert [layer for _, layer in container(kind(layers)).children()] == layers
    if container is nn.Parallel:
        assert container(kind(layers), mode="concatenate").mode == "concatenate"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: ([nn.ReLU()], nn.ReLU()), r"layers\[0\]: got \[ReLU\(\)\]; allowed: a layer.*\*layers"),
        (lambda: (nn.ReLU(), [nn.ReLU()]), r"layers\[1\]"),
        (lambda: ([nn.ReLU(), [nn.ReLU()]],), r"layers\[1\]"),
        (lambda: ([],), "layers: got none"),
        (lambda: ((layer for layer in [nn.ReLU()]),), r"layers\[0\]: got <generator"),
        (lambda: ({"a": nn.ReLU()},), r"layers\[0\]"),
        (lambda: ("relu",), r"layers\[0\]: got 'relu'"),
        (lambda: (nn.ReLU, nn.Dense(2)), r"layers\[0\]: got the class ReLU; allowed: a layer, such as ReLU\(\.\.\.\)"),
        (lambda: ([nn.Conv2d],), r"layers\[0\]: got the class Conv2d"),
        (lambda: (None,), r"layers\[0\]: got None"),
    ],
)
def test_containers_say_what_they_take(layers, message):
    with pytest.raises(ArgumentError, match=message):
        nn.Sequential(*layers())


def test_whatever_training_is_made_of_refuses_what_it_does_not_have(tmp_path):
    model = nn.Sequential(nn.Dense(2)).build((3,))
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
    loss, optimizer = fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1)
    trainer = fc.Trainer(model, loss, optimizer)
    targets = [model, model.parameters(), loss, optimizer, trainer, trainer.history, fc.data.DataLoader((x, y))]
    targets += [fc.training.ModelCheckpoint(tmp_path), fc.training.ProgressDisplay(), model.compile((1, 3))]
    for target in targets:
        for name in ("requires_grad", "batchsize", "verbose"):
            with pytest.raises(UnknownAttributeError, match=f"{name}: got an attribute that {type(target).__name__}"):
                setattr(target, name, 1)
        assert " object at 0x" not in repr(target) or type(target) is fc.training.ProgressDisplay
    with pytest.raises(UnknownAttributeError, match=r"layer\.freeze"):
        model.parameters().requires_grad = False


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.Conv2d(4, 3), "weight"),
        (nn.Conv2d(4, 3), "bias"),
        (nn.ConvTranspose2d(4, 3), "weight"),
        (nn.DepthwiseConv2d(3), "weight"),
        (nn.Dense(3), "bias"),
        (nn.BatchNorm2d(), "running_mean"),
        (nn.BatchNorm2d(), "gamma"),
        (nn.GroupNorm(2), "gamma"),
        (nn.PReLU(), "slope"),
    ],
)
def test_an_array_of_a_layer_that_is_not_built_is_told(layer, name):
    assert not hasattr(layer, name)
    message = f"{name}: got a {type(layer).__name__} that is not built; allowed: after build(input_shape)"
    with pytest.raises(UnknownAttributeError, match=rf"^{re.escape(message)}$"):
        getattr(layer, name)
    with pytest.raises(UnknownAttributeError, match="wieght: got an attribute that Dense has not"):
        _ = nn.Dense(2).wieght


@pytest.mark.parametrize("width", [2**63, 2**61, 10**30])
def test_a_shape_beyond_counting_is_told(width):
    with pytest.raises(ArgumentError, match=rf"layer . \(Dense\): weight: got shape \(3, {width}\); allowed: "):
        nn.Dense(width).build((3,))
