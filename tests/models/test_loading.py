"""Models by name with weights, and with another head."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn.model.weights import host_tensors, write_tensors


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
    with pytest.raises(CheckpointError, match=r"\d\.(bias|weight)"):
        fc.models.load("mlp", weights=tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"nothing.safetensors', which is no file"):
        fc.models.load("mlp", weights=tmp_path / "nothing.safetensors")


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


def test_what_has_no_head_is_told(backend, trained):
    for model in (nn.Sequential(nn.Flatten()).build((2, 2, 1)), nn.Dense(3).build((4,)), "lenet5"):
        with pytest.raises(ArgumentError, match=r"model: got \w+; allowed: a Sequential whose last layer is a Dense"):
            fc.models.fine_tune(model, 3)
    for until in (12, -12, 1.5, "conv"):
        with pytest.raises(ArgumentError, match=f"freeze_until: got {until!r}; allowed: "):
            fc.models.fine_tune(trained, 3, freeze_until=until)


def test_fine_tuning_says_that_a_model_is_not_built_or_a_class():
    with pytest.raises(ArgumentError, match=r"^Sequential: got a model that is not built; allowed: after build\("):
        fc.models.fine_tune(fc.nn.Sequential(fc.nn.Dense(3)), 3)
    with pytest.raises(ArgumentError, match=r"^model: got the class Sequential; allowed: a S"):
        fc.models.fine_tune(fc.nn.Sequential, 3)
