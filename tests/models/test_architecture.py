"""What all models share: arguments, forms, and errors that name the argument."""

import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, ShapeError
from fastconv.models.architecture import architecture


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
        ({"num_classes": 0}, r"out_features: got 0; allowed: "),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        fc.models.vgg11(**arguments)


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
