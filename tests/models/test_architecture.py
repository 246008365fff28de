"""What all models share: arguments, forms, and errors that name the argument."""

import functools
import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, FastconvError, ShapeError
from fastconv.models.architecture import architecture
from tests.models.test_published import MODELS, PARAMETERS


@architecture((8, 8, 2))
def tiny(num_classes: int = 10, *, width: int = 4) -> nn.Sequential:
    """A model for these tests."""
    return nn.Sequential(nn.Conv2d(width, 3), nn.Flatten(), nn.Dense(num_classes))


def test_it_is_built_for_its_own_size_and_takes_its_settings(backend):
    model = tiny(3, width=5, dtype=np.float64, seed=1)
    assert (model.input_shape, model.dtype, model.infer((8, 8, 2))) == ((8, 8, 2), np.float64, (3,))
    assert model.layers[0].out_channels == 5
    again = tiny(3, width=5, dtype=np.float64, seed=1)
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(fc.to_numpy(p.data), fc.to_numpy(q.data))
    assert tiny(input_shape=(9, 7, 1)).input_shape == (9, 7, 1)


def test_its_signature_shows_everything():
    assert list(inspect.signature(tiny).parameters) == ["num_classes", "width", "input_shape", "dtype", "seed"]
    assert tiny.__name__ == "tiny"
    assert inspect.cleandoc(tiny.__doc__).startswith("A model for these tests.\n\nParameters\n")
    assert all(f"\n{name} : " in tiny.__doc__ for name in ("num_classes", "input_shape", "dtype", "seed"))
    assert "\nform : " not in tiny.__doc__
    assert "\nform : " in fc.models.vgg16.__doc__
    assert inspect.signature(fc.models.vgg16).parameters["form"].default == "cifar"


def test_without_parameters_it_tells_its_summary():
    layers = tiny.unbuilt(7)
    assert layers.summary((8, 8, 2)).parameters == 2 * 9 * 4 + 4 + 36 * 4 * 7 + 7
    with pytest.raises(fc.errors.FastconvError, match="not built"):
        _ = layers.input_shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "mnist"}, r"form: got 'mnist'; allowed: 'cifar', 'imagenet'"),
        ({"form": None}, r"form: got None; allowed: 'cifar', 'imagenet'"),
        ({"form": ["imagenet"]}, r"form: got \['imagenet'\]; allowed: 'cifar', 'imagenet'"),
        ({"form": {}}, r"form: got {}; allowed: 'cifar', 'imagenet'"),
        ({"batch_norm": 1}, "batch_norm: got 1; allowed: True, False"),
    ],
)
@pytest.mark.parametrize("make", [fc.models.vgg11, fc.models.vgg11.unbuilt], ids=["built", "unbuilt"])
def test_bad_settings(make, arguments, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make(**arguments)


NO_SETTING = (None, [], {}, "x", 5.5, -1, 0, True, np.array([1, 2]), object(), nn.ReLU(), nn.Conv2d, lambda: 3)
TAKEN = {"hidden": ([], {}, np.array([1, 2])), "normalised": (0,), "batch_norm": (True,), "dropout": (True,)}


def _is_taken(value, taken):
    return any(value is one or (type(value) is type(one) and np.array_equal(value, one)) for one in taken)


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_value_is_told_by_the_name_that_was_written(name):
    """Whatever it is: of the classes, and of each setting that a model has of its own."""
    make = getattr(fc.models, name)
    for setting in set(inspect.signature(make).parameters) - {"input_shape", "dtype", "seed"}:
        for value in NO_SETTING:
            if not _is_taken(value, TAKEN.get(setting, ())):
                for call in (make, make.unbuilt):
                    with pytest.raises(FastconvError, match=rf"^{setting}(\[0\])?: got "):
                        call(**{setting: value})


@pytest.mark.parametrize("value", [None, 5, (), (32, 0, 3), (32, True, 3), "abc"])
@pytest.mark.parametrize("name", [name for name, form in PARAMETERS if form is None])
def test_a_model_without_forms_needs_a_size(name, value):
    with pytest.raises(ShapeError, match=r"^input_shape: got .*; allowed: sizes without the batch, each an int of at "):
        getattr(fc.models, name)(input_shape=value)


def test_no_size_is_that_of_the_form(backend):
    assert fc.models.mobilenet(input_shape=None).input_shape == (32, 32, 3)
    assert fc.models.mobilenet(input_shape=None, form="imagenet").input_shape == (224, 224, 3)


@pytest.mark.parametrize("make", [nn.Tanh, lambda: nn.LeakyReLU(0.2), functools.partial(nn.ELU, 0.5), nn.PReLU])
def test_what_makes_an_activation(make):
    layers = fc.models.mnist_cnn.unbuilt(activation=make).layers
    assert [type(layers[place]) for place in (1, 3, 8)] == [type(make())] * 3
    assert len({id(layers[place]) for place in (1, 3, 8)}) == 3


def test_the_error_of_what_makes_an_activation_is_told_as_it_is():
    with pytest.raises(ArgumentError, match=r"^slope: got 'steep'"):
        fc.models.mnist_cnn(activation=lambda: nn.LeakyReLU("steep"))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("airbench", (8, 8, 3)),
        ("lenet5", (8, 8, 3)),
        ("vgg11", (16, 16, 3)),
        ("keras_cnn", (6, 6, 3)),
        ("resnet18", (32, 32)),
        ("mnist_cnn", (3, 3, 1)),
    ],
)
def test_an_image_that_does_not_fit_is_told_by_name_before_anything_is_drawn(name, size):
    with pytest.raises(ShapeError, match=rf"input_shape: got \({size[0]}, .*, which {name} does not fit; layer \d+ \("):
        getattr(fc.models, name)(input_shape=size)


def test_weights_of_other_classes_are_refused_by_the_first_names_that_differ(tmp_path, backend):
    tiny(3, seed=0).save_weights(tmp_path / "w.npz")
    with pytest.raises(fc.errors.CheckpointError, match=r"2\.(weight|bias)"):
        tiny(4, seed=0).load_weights(tmp_path / "w.npz")
