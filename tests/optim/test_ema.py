"""Moving averages in the place of the weights, and back, wherever the parameters are by then."""

import copy
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.optim import EMA, SGD
from tests.interrupts import every_place


def values(model):
    return [fc.to_numpy(tensor.array).copy() for layer in model.layers for tensor in layer.own_tensors()]


def trained():
    """A model, its optimizer, its weights and their averages."""
    model = nn.Sequential(nn.Dense(4), nn.ReLU(), nn.Dense(3)).build((2,), seed=1)
    optimizer = EMA(SGD(model.parameters(), 0.5), decay=0.5)
    for parameter in model.parameters():
        parameter.grad = fc.asarray(np.ones(parameter.shape, np.float32))
    optimizer.step()
    with optimizer.averaged():
        averages = values(model)
    return model, optimizer, values(model), averages


def assert_same(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


CHANGES = {
    "shared": lambda model: nn.Sequential(*model[:-1], nn.Dense(7)).build((2,), seed=5),
    "moved": lambda model: model.to("numpy" if fc.get_backend().name != "numpy" else "numba"),
    "moved and back": lambda model: model.to("numpy").to("numba").to(fc.get_backend().name),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_come_back_to_where_the_parameters_are(backend, change):
    if "moved" in change and "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    model, optimizer, weights, averages = trained()
    with optimizer.averaged():
        other = CHANGES[change](model)
        assert_same(values(model), averages)
        kept = copy.deepcopy(other)
    assert_same(values(model), weights)
    assert_same(values(kept)[:2], averages[:2])
    assert_same(values(other)[:2], weights[:2])
    assert len(optimizer.state_dict()["tensors"]) == 4  # no longer within


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, pickle.dumps])
def test_it_is_not_copied_within(copied):
    """A copy would be within for ever."""
    with fc.use_backend("numpy"):
        _, optimizer, _, _ = trained()
        with (
            optimizer.averaged(),
            pytest.raises(ArgumentError, match=r"copy, or pickle: got a call within averaged\(\); allowed: after it"),
        ):
            copied(optimizer)
        copied(optimizer)


def test_weights_of_layers_that_changed_places_come_back_to_these(backend):
    model = nn.Sequential(nn.Dense(2), nn.Dense(2)).build((2,), seed=1)
    optimizer, weights = EMA(SGD(model.parameters(), 0.5), decay=0.5), values(model)
    for parameter in model.parameters():
        parameter.data = 2 * parameter.data
    with optimizer.averaged():
        nn.Sequential(model[1], model[0]).build((2,))
        assert_same(values(model), weights)
    assert_same(values(model), [2 * each for each in weights])


def test_weights_that_moved_come_back_whole():
    with fc.use_backend("numpy"):
        model, optimizer, weights, averages = trained()
        nn.Sequential(*model[:-1], nn.Dense(7)).build((2,), seed=5)

        def look(broken):
            assert_same(values(model), averages if optimizer._swapped else weights)
            if optimizer._swapped:
                optimizer._exchange(False)

        assert every_place(lambda: optimizer._exchange(True), lambda: None, look, stride=3) > 20


def test_what_was_frozen_since_computes_with_its_average_too(backend):
    """What was prepared of its weights stayed that of the weights."""
    x = fc.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype(np.float32))
    model = nn.Sequential(nn.Conv2d(4, 3, padding=1)).build((8, 8, 4), seed=1)
    optimizer, before = EMA(SGD(model.parameters(), 1.0), decay=0.999), fc.to_numpy(model(x)).copy()
    for parameter in model.parameters():
        parameter.grad = fc.asarray(np.ones(parameter.shape, np.float32))
    optimizer.step()
    model.freeze()
    after = fc.to_numpy(model(x)).copy()
    with optimizer.averaged():
        np.testing.assert_allclose(fc.to_numpy(model(x)), before, atol=0.1)
    np.testing.assert_array_equal(fc.to_numpy(model(x)), after)
    assert abs(after - before).max() > 1
