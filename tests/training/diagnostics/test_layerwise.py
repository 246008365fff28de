"""A model run layer by layer computes what it computes as a whole, and shows each layer."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.training.diagnostics.layerwise import layerwise

from ..trainers import data_of, model_of
from .containers import PAIRS, branched, pair

LAYERS = ["0", "1", "2", "3", "4.body.0", "4.body.1", "4.shortcut", "5", "6", "7"]


class Notes:
    def __init__(self):
        self.forwards, self.backwards = [], []

    def forward(self, place, x, y):
        self.forwards.append((place.name, place.kind, tuple(x.shape[1:]), tuple(y.shape[1:])))

    def backward(self, place, grad_output, grad_input):
        self.backwards.append((place.name, tuple(grad_output.shape[1:]), grad_input is not None))


@pytest.mark.float64
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_results_are_those_of_the_model_and_every_layer_is_shown(rng, backend):
    with fc.use_backend(backend):
        model, notes = model_of(dtype=np.float64), Notes()
        x, _ = data_of(rng, 4, np.float64)
        before = [np.array(tensor.data) for tensor in model.tensors()]
        copied = layerwise(model, notes)
        with fc.random.stream(0, 0):
            got, context = copied.forward(x, training=True)
        assert [name for name, *_ in notes.forwards] == LAYERS
        assert notes.forwards[0] == ("0", "Conv2d", (8, 8, 2), (8, 8, 8))
        copied.zero_grad()
        copied.backward(fc.asarray(np.ones(got.shape)), context, needs_input_grad=False)
        assert sorted(name for name, *_ in notes.backwards) == LAYERS
        assert notes.backwards[-1] == ("0", (8, 8, 8), False)
        for tensor, value in zip(model.tensors(), before, strict=True):
            np.testing.assert_array_equal(tensor.data, value)
        with fc.random.stream(0, 0):
            want, context = model.forward(x, training=True)
        np.testing.assert_allclose(fc.to_numpy(got), fc.to_numpy(want), rtol=1e-10)
        model.zero_grad()
        model.backward(fc.asarray(np.ones(got.shape)), context, needs_input_grad=False)
        for mine, theirs in zip(copied.parameters(), model.parameters(), strict=True):
            np.testing.assert_allclose(fc.to_numpy(mine.grad), fc.to_numpy(theirs.grad), rtol=1e-9, atol=1e-12)


def test_the_model_stays_as_it_is(rng):
    with fc.use_backend("numpy"):
        model, notes = model_of(), Notes()
        layerwise(model, notes)
        model(data_of(rng, 2)[0])
        assert not notes.forwards
        assert "forward" not in vars(model.layers[0])


def test_a_single_layer_and_one_that_comes_twice():
    with fc.use_backend("numpy"):
        x = np.ones((2, 3), np.float32)
        notes = Notes()
        layerwise(nn.Dense(4).build((3,)), notes).forward(x, training=True)
        assert notes.forwards == [("", "Dense", (3,), (4,))]
        notes, shared = Notes(), nn.ReLU()
        model = nn.Sequential(shared, nn.Dense(3), shared).build((3,))
        layerwise(model, notes).forward(x, training=True)
        assert [name for name, *_ in notes.forwards] == ["0", "1", "0"]


@pytest.mark.parametrize("kind", [*PAIRS, "branched"])
def test_a_graph_shows_the_layers_that_a_sequential_of_them_shows(rng, kind):
    with fc.use_backend("numpy"):
        x, seen = rng.standard_normal((2, 6, 6, 2)).astype(np.float32), []
        for model in branched() if kind == "branched" else pair(kind):
            notes = Notes()
            copied = layerwise(model, notes)
            y, context = copied.forward(x, training=True)
            copied.backward(y, context)
            kinds = dict(note[:2] for note in notes.forwards)
            shown = [note[1:] for note in notes.forwards], [(kinds[note[0]], *note[1:]) for note in notes.backwards]
            seen.append((shown, y))
    ((forwards, backwards), y), ((graph_forwards, graph_backwards), graph_y) = seen
    assert sorted(graph_forwards) == sorted(forwards)  # branches in an order of their own
    assert sorted(graph_backwards) == sorted(backwards)
    assert len(forwards) == sum(not layer.children() for layer in model.walk())
    np.testing.assert_array_equal(graph_y, y)


def test_each_of_several_outputs_is_shown():
    """Of a layer that has none inside, such as a graph of joins."""
    with fc.use_backend("numpy"):
        x, notes = np.ones((2, 3), np.float32), Notes()
        joins = {"a": ("sum", "input", "input"), "b": ("concatenate", "a", "input")}
        copied = layerwise(nn.Graph(joins, ("a", "b")).build((3,)), notes)
        copied.backward(*copied.forward(x, training=True))
        assert [note[2:] for note in notes.forwards] == [((3,), (3,)), ((3,), (6,))]
        assert [note[1] for note in notes.backwards] == [(3,), (6,)]
