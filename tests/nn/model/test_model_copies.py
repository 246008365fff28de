"""Copies and pickles: the same numbers, in arenas of their own, and nothing in common with the original.

And models that nobody holds any more, which leave nothing.
"""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import weakref

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.nn.core.parameter import arena_slices
from tests.nn.layers.test_layers import LAYERS
from tests.nn.model.test_model_sharing import MOVES, SHAPE, trained

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value, protocol=2)),
}
twice = pytest.mark.parametrize("how", COPIES)


def assert_is_a_copy(got: nn.Layer, model: nn.Layer) -> None:
    """The same values and names, nothing shared, all in one arena each, and layers that hold what is in it."""
    assert type(got) is type(model)
    assert got.backend is model.backend
    assert got.dtype == model.dtype
    assert got.input_shape == model.input_shape
    mine, theirs = got.tensors(), model.tensors()
    assert [tensor.name for tensor in mine] == [tensor.name for tensor in theirs]
    for tensor, other in zip(mine, theirs, strict=True):
        assert type(tensor) is type(other)
        assert tensor is not other
        np.testing.assert_array_equal(fc.to_numpy(tensor.data), fc.to_numpy(other.data))
        assert tensor.shape == other.shape
        assert np.shares_memory(fc.to_numpy(tensor.array), fc.to_numpy(tensor.arena.data))
        assert not np.shares_memory(fc.to_numpy(tensor.array), fc.to_numpy(other.arena.data))
        assert tensor.array.ctypes.data % 64 == 0
    if len(model.parameters()):
        assert len(arena_slices(got.parameters())) == len(arena_slices(model.parameters())) == 1
        assert all(np.shares_memory(p.grad, p.arena.grad) for p in got.parameters())
        assert not any(fc.to_numpy(p.grad).any() for p in got.parameters())
    assert repr(got) == repr(model)


@twice
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(backend, rng, name, how):
    make, shape = LAYERS[name]
    layer = make()
    assert repr(COPIES[how](layer)) == repr(layer)
    layer.build(shape[1:])
    x = fc.asarray(rng.standard_normal(shape).astype(np.float32))
    y, context = layer.forward(x, training=True)
    layer.backward(y, context)  # the gradients stay behind
    got = COPIES[how](layer)
    assert_is_a_copy(got, layer)
    np.testing.assert_array_equal(fc.to_numpy(got(x)), fc.to_numpy(layer(x)))


def test_every_public_class_is_copied_here():
    """Layers above, tensors below; what is neither says why not."""
    rest = set(nn.__all__) - {type(make()).__name__ for make, _ in LAYERS.values()} - {"Sequential", "Layer"}
    assert rest == {"Buffer", "Parameter", "Parameters", "Scope"}


@twice
def test_tensors(backend, how):
    model = trained()
    parameters = COPIES[how](model.parameters())
    assert [p.name for p in parameters] == [p.name for p in model.parameters()]
    assert len(arena_slices(parameters)) == 1
    buffer = COPIES[how](model.buffers()[0])
    np.testing.assert_array_equal(fc.to_numpy(buffer.data), fc.to_numpy(model.buffers()[0].data))
    loose = COPIES[how](nn.Parameter("w", (2, 3)))
    assert (loose.name, loose.shape, loose.size) == ("w", (2, 3), 6)


@twice
def test_scope_says_why_not(how):
    class Curious(nn.Identity):
        def setup(self, input_shape, scope):
            with pytest.raises(ArgumentError, match="the layer that was set up"):
                COPIES[how](scope)
            return input_shape

    with fc.use_backend("numpy"):
        Curious().build((3,))


@twice
@pytest.mark.parametrize("move", MOVES)
def test_models_that_share_layers(rng, move, how):
    """A copy of both together shares as they do; a copy of one of them has all that it needs."""
    with fc.use_backend("numpy"):
        old = trained()
        new = MOVES[move](old).build(SHAPE)
        assert_is_a_copy(COPIES[how](new), new)
        x = rng.standard_normal((2, *SHAPE)).astype(np.float32)
        for got, model in zip(COPIES[how]((old, new)), (old, new), strict=True):
            np.testing.assert_array_equal(got(x), model(x))
        first, second = COPIES[how]((old, new))
        common = [i for i, tensor in enumerate(old.tensors()) if tensor in new.tensors()]
        assert [i for i, tensor in enumerate(first.tensors()) if tensor in second.tensors()] == common
        assert list(first.named_tensors()) == list(old.named_tensors())


@twice
def test_copies_are_trained_alike_and_apart(backend, rng, how):
    x = fc.asarray(rng.standard_normal((4, *SHAPE)).astype(np.float32))
    y = fc.asarray(np.array([0, 1, 2, 3], np.int32))
    model = trained()
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 0.01))
    trainer.train_step(x, y)
    other = COPIES[how](model)
    before = [fc.to_numpy(tensor.data).copy() for tensor in model.tensors()]
    steps = fc.Trainer(other, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(other.parameters(), 0.1))
    first = float(steps.train_step(x, y))
    for value, tensor in zip(before, model.tensors(), strict=True):
        np.testing.assert_array_equal(value, fc.to_numpy(tensor.data))
    again = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1))
    assert float(again.train_step(x, y)) == first
    for mine, tensor in zip(model.tensors(), other.tensors(), strict=True):
        np.testing.assert_array_equal(fc.to_numpy(mine.data), fc.to_numpy(tensor.data))
    assert other.build(SHAPE, seed=3).parameters()[0].data.any()


@twice
def test_optimizers_go_along(backend, rng, how):
    """Copied together with its model, an optimizer goes on with the copy as it would have with the model."""
    x = fc.asarray(rng.standard_normal((4, *SHAPE)).astype(np.float32))
    y = fc.asarray(np.array([0, 1, 2, 3], np.int32))
    model = trained()
    optimizer = fc.optim.Adam(model.parameters(), 0.01)
    fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer).train_step(x, y)
    pairs = [COPIES[how]((model, optimizer)), (model, optimizer)]
    for each, with_ in pairs:
        for _ in range(2):
            fc.Trainer(each, fc.losses.SoftmaxCrossEntropy(), with_).train_step(x, y)
    for mine, tensor in zip(pairs[0][0].tensors(), model.tensors(), strict=True):
        np.testing.assert_array_equal(fc.to_numpy(mine.data), fc.to_numpy(tensor.data))


@twice
@pytest.mark.parametrize("algorithm", ["shapes", "direct"])
def test_plans(rng, how, algorithm):
    """A plan is made again in the precision and with the algorithm that it was made with, whatever is active then."""
    model = nn.Sequential(nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.Conv2d(16, 3, padding=1)).build(
        (12, 12, 16)
    )
    x = rng.standard_normal((2, 12, 12, 16)).astype(np.float32)
    with fc.algorithm(algorithm):
        plan = model.compile(x.shape)
    with fc.precision("strict"):
        strict = model.compile(x.shape)
    assert not np.array_equal(strict(x), plan(x)) or algorithm == "direct"
    want = plan(x), strict(x)
    model.parameters()[0].data = np.zeros(model.parameters()[0].shape)
    with fc.use_backend("numpy"):
        copies = COPIES[how](plan), COPIES[how](strict)
    for got, value, original in zip(copies, want, (plan, strict), strict=True):
        np.testing.assert_array_equal(got(x), value)
        assert repr(got) == repr(original) == "InferencePlan((2, 12, 12, 16) -> (2, 12, 12, 16), backend numba)"


def test_plans_keep_their_algorithm_without_capture(rng, monkeypatch):
    """Also where a plan is not captured, it does not go over to what is active when it is called."""
    model = nn.Sequential(nn.Conv2d(16, 3, padding=1)).build((12, 12, 16))
    x = rng.standard_normal((2, 12, 12, 16)).astype(np.float32)
    monkeypatch.setattr(type(fc.get_backend()), "capture", lambda self, function: None)
    with fc.algorithm("direct"):
        plan = model.compile(x.shape)
        want = plan(x)
    np.testing.assert_array_equal(plan(x), want)
    assert not np.array_equal(model(x), want)


def test_prepared_weights_stay_behind(rng):
    model = nn.Sequential(nn.Conv2d(64, 3, padding=1)).build((32, 32, 64))
    size = len(pickle.dumps(model))
    model(rng.standard_normal((1, 32, 32, 64)).astype(np.float32))
    assert len(pickle.dumps(model)) == size < 1.05 * model.parameters()[0].array.nbytes + 5000


def _predict(model: nn.Layer, x: np.ndarray) -> np.ndarray:
    with fc.use_backend(model.backend.name):
        return model(x)


def test_spawned_workers_take_models(rng):
    x = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    with fc.use_backend("numpy"):
        model = trained()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.apply_async(_predict, (model, x)).get(timeout=120)
        np.testing.assert_array_equal(got, model(x))


def fitted(model: nn.Layer) -> None:
    images, classes = np.ones((4, *model.input_shape), np.float32), np.zeros(4, np.int32)
    optimizer = fc.optim.Adam(model.parameters())
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)
    trainer.fit((images, classes), 1, validation_data=(images, classes), batch_size=2)


def looked_at(model: nn.Layer) -> None:
    fc.explain(model, (2, *model.input_shape))
    model.summary()
    model.predict(np.ones((2, *model.input_shape), np.float32))
    model.compile((2, *model.input_shape))
    copy.deepcopy(model)


MADE = {
    "a layer": lambda: nn.Dense(3).build((4,)),
    "a model": lambda: fc.models.lenet5(input_shape=(16, 16, 1)),
    "residuals": lambda: fc.models.resnet20(input_shape=(8, 8, 3)),
    "a copy": lambda: copy.deepcopy(nn.Sequential(nn.Dense(3)).build((4,))),
    "built again": lambda: nn.Sequential(*nn.Sequential(nn.Dense(3), nn.ReLU()).build((4,)).layers[:-1]).build((4,)),
}


def test_what_nobody_holds_is_freed_at_once() -> None:
    """And not when Python looks for circles, as it seldom does: until then gigabytes of large models are held.

    One test, for to look for circles takes most of its time.
    """
    cases = [(name, make, use) for name, make in MADE.items() for use in (lambda model: None, fitted, looked_at)]
    for _, make, use in cases:  # what is compiled or loaded the first time leaves frames behind
        use(make())
    gc.collect()
    gc.disable()
    try:
        held = []
        for name, make, use in cases:
            model = make()
            use(model)
            left = [weakref.ref(model), *map(weakref.ref, model.tensors())]
            del model
            held += [(name, use.__name__) for each in left if each() is not None]
        assert not held
    finally:
        gc.enable()
