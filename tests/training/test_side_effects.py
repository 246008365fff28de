"""What a layer of one's own keeps of each step is kept of each step."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, nn, optim
from fastconv.backends import memory
from fastconv.training.batches import checked_batch
from fastconv.training.captured import CapturedStep
from fastconv.training.step import StepSettings
from tests.interrupts import HERE, every_place

F = fc.functional


def _counts(layer, x):
    layer.kept = layer.kept + 1 if isinstance(layer.kept, int) else 1


def _averages(layer, x):
    layer.kept = 0.9 * (0 if layer.kept is None else layer.kept) + 0.1 * np.asarray(x).mean((0, 1, 2))


def _averages_in_place(layer, x):
    layer.means *= 0.9
    layer.means += 0.1 * np.asarray(x).mean((0, 1, 2))


def _notes(layer, x):
    layer.notes.append(float(x.max()))


def _tells_by_name(layer, x):
    layer.last["max"] = float(x.max())


def _says_the_shape(layer, x):
    layer.kept = x.shape


def _keeps_its_input(layer, x):
    layer.kept = {"x": x}


def _keeps_an_object(layer, x):
    layer.kept = SimpleNamespace(x=x)


def _counts_within(layer, x):
    layer.deep.list[0][0] += 1


def _counts_by_key(layer, x):
    layer.deep.counter["steps"] += 1


def _averages_within(layer, x):
    layer.deep.array *= 0.9
    layer.deep.array += 0.1 * np.asarray(x).mean((0, 1, 2))


def _draws(layer, x):
    layer.noise = layer.deep.generator.random() + layer.deep.old.random() + layer.deep.python.random()


def _draws_of_all(layer, x):
    layer.noise = np.random.random() + random.random()  # noqa: NPY002  # as people write it


class Deep:
    """What a layer keeps in an object of its own."""

    def __init__(self):
        self.list, self.counter, self.array = [[0]], Counter(), np.zeros(4)
        self.generator, self.old, self.python = np.random.default_rng(1), np.random.RandomState(1), random.Random(1)


class Keeping(nn.Layer):
    setting_names = ()

    def __init__(self, keep):
        self.keep, self.kept, self.means, self.notes, self.last = keep, None, np.zeros(4), [], {}
        self.deep, self.noise = Deep(), 0.0

    def forward(self, x, *, training):
        if training:
            self.keep(self, x)
        return F.relu(x + np.float32(self.noise) if self.noise else x), x

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return F.relu_backward(grad_output, context)


def _trained(keep, rng, capture):
    """Return what is kept after four steps, with the weights, and whether the steps were captured."""
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    layer = Keeping(keep)
    model = nn.Sequential(nn.Conv2d(4, 1), layer, nn.GlobalAvgPool2d(), nn.Dense(2)).build((4, 4, 3), seed=0)
    trainer = fc.Trainer(model, losses.SoftmaxCrossEntropy(), optim.SGD(model.parameters(), 0.5), capture=capture)
    for _ in range(4):
        trainer.train_step(rng.standard_normal((8, 4, 4, 3)).astype(np.float32), rng.integers(0, 2, 8))
    deep = layer.deep.list, layer.deep.counter, layer.deep.array
    kept = repr((layer.kept, layer.means, layer.notes, layer.last, deep, layer.noise))
    weights = [parameter.data.tobytes() for parameter in model.parameters()]
    return kept, weights, capture is None and trainer._captured.works


_NOTHING = repr((None, np.zeros(4), [], {}, ([[0]], Counter(), np.zeros(4)), 0.0))
_FLAT = _counts, _averages, _averages_in_place, _notes, _tells_by_name
_DEEP = _counts_within, _counts_by_key, _averages_within, _draws, _draws_of_all


@pytest.fixture(params=["zeros", "NaN"])
def memory_as_it_was(request, monkeypatch):
    """Let memory that nothing was written to hold the same each time."""
    allocate = memory.Pool._allocate

    def filled(pool, size):
        block = allocate(pool, size)
        block.fill(255 if request.param == "NaN" else 0)
        return block

    monkeypatch.setattr(memory.Pool, "_allocate", filled)


@pytest.mark.parametrize("keep", [*_FLAT, *_DEEP])
def test_what_a_layer_keeps_of_each_step_is_kept(keep, memory_as_it_was):
    with fc.use_backend("numba"):
        want, got = (_trained(keep, np.random.default_rng(0), capture) for capture in (False, None))
    assert not got[-1]
    assert got == want
    assert want[0] != _NOTHING


@pytest.mark.parametrize("keep", [_says_the_shape, _keeps_its_input, _keeps_an_object])
def test_steps_that_keep_the_same_are_captured(keep):
    with fc.use_backend("numba"):
        *_, captured = _trained(keep, np.random.default_rng(0), None)
    assert captured


def test_an_interrupted_trial_leaves_everything_as_it_was(rng):
    batch = rng.standard_normal((8, 4, 4, 3)).astype(np.float32), rng.integers(0, 2, 8)
    with fc.use_backend("numba"):
        layer = Keeping(_counts_within)
        model = nn.Sequential(nn.Conv2d(4, 1), layer, nn.GlobalAvgPool2d(), nn.Dense(2)).build((4, 4, 3), seed=0)
        optimizer = optim.SGD(model.parameters(), 0.5)

        def state():
            return [parameter.data.tobytes() for parameter in model.parameters()], repr(layer.deep.list)

        def change():
            CapturedStep(model, losses.SoftmaxCrossEntropy(), optimizer, how, checked_batch(model, *batch))

        def look(broken):
            assert state() == before

        how, before, places = StepSettings(0), state(), (f"{HERE}/nn/core/undo", f"{HERE}/training/side_effects")
        assert every_place(change, lambda: None, look, stride=13, where=places) > 1000
