"""Models by name with weights, and with another head."""

import copy
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError, FastconvError
from fastconv.nn.model.weights import host_tensors, write_tensors
from tests.models.test_published import MODELS

LARGE = {"alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet110"}


class Doubled(nn.Dense):
    def forward(self, x, *, training):
        y, context = super().forward(x, training=training)
        return 2 * y, context


class Backwards(nn.Sequential):
    def forward(self, x, *, training):
        return super().forward(x[::-1], training=training)


@pytest.fixture
def trained(backend):
    model = fc.models.lenet5(dtype=np.float64, seed=3)
    for buffer in model.parameters():
        buffer.data = fc.to_numpy(buffer.data) + 0.125
    return model


@pytest.mark.float64
def test_weights_are_loaded_in_their_type(tmp_path, trained, rng):
    trained.save_weights(tmp_path / "w.safetensors")
    model = fc.models.load("lenet5", weights=tmp_path / "w.safetensors")
    x = fc.asarray(rng.standard_normal((2, 32, 32, 3)))
    assert model.dtype == np.float64
    np.testing.assert_array_equal(fc.to_numpy(model(x)), fc.to_numpy(trained(x)))


def test_classes_and_size_come_from_the_file(tmp_path, backend):
    model = fc.models.lenet5(3, input_shape=(28, 28, 1), seed=1)
    about = {"class_names": ["a", "b", "c"], "input_shape": [28, 28, 1]}
    write_tensors(tmp_path / "w.safetensors", host_tensors(model), {"kind": "weights", "about": about})
    loaded = fc.models.load("lenet5", weights=tmp_path / "w.safetensors")
    assert (loaded.input_shape, loaded.infer((28, 28, 1))) == ((28, 28, 1), (3,))


def test_what_is_no_model_or_of_another_one_is_told(tmp_path, trained):
    trained.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match=r"name: got 'lenet'; allowed: airbench, alexnet, .* \(nearest: 'lenet5'\)"):
        fc.models.load("lenet", weights=tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match="name: got 'fine_tune'"):
        fc.models.load("fine_tune", weights=tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"it lacks 1.weight, 1.bias, 5.weight and 1 more, and has 0.bias, 0.w"):
        fc.models.load("mlp", weights=tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"nothing.safetensors', which is no file"):
        fc.models.load("mlp", weights=tmp_path / "nothing.safetensors")


def test_a_number_of_classes_that_was_guessed_is_told(tmp_path):
    fc.models.lenet5(7, seed=0).save_weights(tmp_path / "w.safetensors")
    guess = "; num_classes is taken for 10, as the file does not say it"
    with pytest.raises(CheckpointError, match=guess):
        fc.models.load("lenet5", weights=tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as error:
        fc.models.load("lenet5", weights=tmp_path / "w.safetensors", num_classes=10)
    assert guess not in str(error.value)
    assert fc.models.load("lenet5", weights=tmp_path / "w.safetensors", num_classes=7).summary().parameters == 61751


def test_the_first_names_that_differ_are_the_first_of_the_model(tmp_path, backend):
    """Those of the file alone in natural order: it keeps none of its own. Ten convolutions have 62, eight have 50."""
    fc.models.vgg11(seed=0).save_weights(tmp_path / "w.safetensors")
    told = (
        "a file of another model (it lacks 3.weight, 3.bias, 4.gamma and 53 more, and has 4.bias, 4.weight, 5.beta and"
        " 41 more too much); allowed: one with the 62 tensors of this model"
    )
    with pytest.raises(CheckpointError) as error:
        fc.models.load("vgg13", weights=tmp_path / "w.safetensors")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dtype": np.float64},
            r"dtype: got it for load, .*; allowed: name, weights, .* \(the weights have a type of th",
        ),
        ({"seed": 0}, r"seed: got it for load, .* \(all weights are those of the file\)"),
        ({"input_shape": None}, "input_shape: got None; allowed: sizes without the batch"),
        ({"num_classes": 0}, "num_classes: got 0; allowed: an int of at least 1"),
        ({"num_classes": True}, "num_classes: got True; allowed: an int of at least 1"),
        ({"form": "cifar"}, "form: got it for lenet5, which has no such argument"),
    ],
)
def test_settings_that_a_loaded_model_does_not_take(tmp_path, backend, settings, message):
    fc.models.lenet5(seed=0).save_weights(tmp_path / "w.safetensors")
    with pytest.raises(FastconvError, match=f"^{message}"):
        fc.models.load("lenet5", weights=tmp_path / "w.safetensors", **settings)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        *((about, f"about {about!r}; allowed: a table") for about in (5, None, [], "lenet5")),
        *(({"class_names": wrong}, f"class_names {wrong!r}; allowed: a list of texts") for wrong in (5, [], "ab", [1])),
        *(
            ({"input_shape": wrong}, f"input_shape {wrong!r}; allowed: a list of sizes")
            for wrong in (None, 5, [], "ab")
        ),
        *(({"input_shape": [wrong, 32, 3]}, f"input_shape [{wrong}, 32, 3]; allowed: ") for wrong in (0, 1.5, True)),
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path, backend, about, told):
    model = fc.models.lenet5(seed=0)
    write_tensors(tmp_path / "w.safetensors", host_tensors(model), {"kind": "weights", "about": about})
    with pytest.raises(CheckpointError, match=re.escape(f"w.safetensors', whose metadata has {told}")):
        fc.models.load("lenet5", weights=tmp_path / "w.safetensors")


@pytest.mark.float64
def test_a_new_head_on_old_layers(trained):
    before = [fc.to_numpy(parameter.data).copy() for parameter in trained.parameters()][:-2]
    tuned = fc.models.fine_tune(trained, 3, freeze_until=-1, seed=5)
    assert tuned.infer((32, 32, 3)) == (3,)
    assert tuned.summary().trainable == 84 * 3 + 3
    trainer = fc.Trainer(tuned, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(tuned.parameters(), 0.1, momentum=0.9))
    head = fc.to_numpy(tuned.layers[-1].weight.data).copy()
    x = fc.asarray(np.ones((2, 32, 32, 3)))
    trainer.train_step(x, fc.asarray(np.array([0, 2], np.int32)))
    after = [fc.to_numpy(parameter.data) for parameter in tuned.parameters()]
    for old, new in zip(before, after, strict=False):
        np.testing.assert_array_equal(old, new)
    assert (fc.to_numpy(tuned.layers[-1].weight.data) != head).any()


@pytest.mark.parametrize(("until", "frozen"), [(None, 0), (0, 0), (3, 456), (-1, 61_156)])
def test_layers_before_a_place_are_frozen(trained, until, frozen):
    assert fc.models.fine_tune(trained, 10, freeze_until=until).summary().frozen == frozen


def frozen_layers(model):
    return [place for place, layer in enumerate(model.layers) if layer.is_frozen]


def test_each_call_says_anew_what_is_frozen_in_both_models(trained):
    """The layers are 0 and 3, convolutions, and 7, 9 and 11, dense; those before the place, whatever was before."""
    calls = [(-1, [0, 3, 7, 9]), (4, [0, 3]), (None, [0, 3]), (8, [0, 3, 7]), (1, [0]), (-4, [0, 3, 7]), (0, [])]
    for until, frozen in calls:
        tuned = fc.models.fine_tune(trained, 3, freeze_until=until)
        assert frozen_layers(tuned) == frozen_layers(trained) == frozen, until
    trained.freeze("3.bias")
    tuned = fc.models.fine_tune(trained, 3)
    assert [parameter.name for parameter in tuned.parameters() if parameter.is_frozen] == ["3.bias"]
    assert not any(p.is_frozen for p in fc.models.fine_tune(trained, 3, freeze_until=3).layers[3].parameters())
    trained.freeze()
    assert frozen_layers(fc.models.fine_tune(trained, 3)) == [0, 3, 7, 9]  # all but the new head
    apart = copy.deepcopy(trained)
    fc.models.fine_tune(apart, 3, freeze_until=0)
    assert frozen_layers(trained) == [0, 3, 7, 9, 11]


def test_a_layer_on_both_sides_of_the_place_is_frozen(backend):
    twice = nn.Dense(4)
    model = nn.Sequential(twice, nn.Dense(4), twice, nn.Dense(2)).build((4,), seed=0)
    assert frozen_layers(fc.models.fine_tune(model, 3, freeze_until=1)) == [0, 2]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in MODELS]
)
def test_every_model_takes_a_new_head(name):
    with fc.use_backend("numpy"):
        model = getattr(fc.models, name)(seed=0)
        tuned = fc.models.fine_tune(model, 3, freeze_until=-1, seed=0)
    assert tuned.infer(model.input_shape) == (3,)
    (head,) = [layer for layer in tuned.layers if layer not in model.layers]
    (old,) = [layer for layer in model.layers if layer not in tuned.layers]
    assert head.settings() == {**old.settings(), "out_features": 3}
    assert tuned.layers.index(head) == model.layers.index(old)
    assert {p.name for p in tuned.parameters() if not p.is_frozen} == {p.name for p in head.parameters()}


def test_a_new_head_begins_as_the_old_one_did(backend):
    """With weights of the deviation 1, logits divided by 256 behind it."""
    tuned = fc.models.fine_tune(fc.models.airbench(seed=0), 3)
    assert fc.to_numpy(tuned.layers[-2].weight.data).std() == pytest.approx(1, rel=1e-5)
    assert tuned.layers[-1].factor == 1 / 256


def test_what_has_no_head_is_told(backend, trained):
    refused = {
        "a Sequential that ends in Flatten": nn.Sequential(nn.Flatten()),
        "a Sequential that ends in Dense, ReLU, Scale": nn.Sequential(
            *(nn.Flatten(), nn.Dense(2), nn.ReLU(), nn.Scale(2))
        ),
        "a Sequential that ends in Scale, Scale": nn.Sequential(nn.Scale(2), nn.Scale(3)),
        "a Sequential that ends in Flatten, Doubled": nn.Sequential(nn.Flatten(), Doubled(3)),
        "Backwards": Backwards(nn.Flatten(), nn.Dense(3)),
        "Flatten": nn.Flatten(),
    }
    for got, model in refused.items():
        with pytest.raises(
            ArgumentError, match=f"^model: got {got}; allowed: a Sequential that ends in a Dense, of no d"
        ):
            fc.models.fine_tune(model.build((2, 2, 1)), 3)
    with pytest.raises(ArgumentError, match=r"^model: got str; allowed: a Sequential that ends in a Dense, of no d"):
        fc.models.fine_tune("lenet5", 3)
    for classes in (0, "3", 2.0, None, True):
        with pytest.raises(ArgumentError, match=f"^num_classes: got {classes!r}; allowed: an int of at least 1"):
            fc.models.fine_tune(trained, classes)
    for until in (12, -12, 1.5, "conv"):
        with pytest.raises(ArgumentError, match=f"freeze_until: got {until!r}; allowed: "):
            fc.models.fine_tune(trained, 3, freeze_until=until)


def test_fine_tuning_says_that_a_model_is_not_built_or_a_class():
    with pytest.raises(ArgumentError, match=r"^Sequential: got a model that is not built; allowed: after build\("):
        fc.models.fine_tune(fc.nn.Sequential(fc.nn.Dense(3)), 3)
    with pytest.raises(ArgumentError, match=r"^model: got the class Sequential; allowed: a S"):
        fc.models.fine_tune(fc.nn.Sequential, 3)
