"""Statistics of layers against NumPy, and units that never fire."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DataError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.training.diagnostics import dead_units, layer_statistics, statistics_of

from ..trainers import data_of, model_of
from .containers import pair


def test_statistics_of_known_numbers():
    found = statistics_of(np.array([[0.0, 1.0, 2.0, 5.0, np.nan, np.inf, 0.0, 0.0]], np.float32), bins=5)
    assert (found.size, found.min, found.max, found.zeros, found.not_finite) == (8, 0.0, 5.0, 3 / 8, 0.25)
    assert found.mean == pytest.approx(8 / 6)
    assert found.std == pytest.approx(np.std([0, 1, 2, 5, 0, 0]))
    assert found.counts == (3, 1, 1, 0, 1)
    assert found.edges == pytest.approx((0, 1, 2, 3, 4, 5))
    assert "38% zeros, 25% not finite" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["counts"] == [3, 1, 1, 0, 1]


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_statistics_of_nothing_finite(values):
    found = statistics_of(np.array(values))
    assert np.isnan([found.mean, found.std, found.min, found.max]).all()
    assert (found.not_finite, sum(found.counts)) == (float(bool(values)), 0)


@pytest.mark.parametrize("backend", ["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_statistics_of_layers(rng, backend):
    with fc.use_backend(backend), fc.precision("strict"):
        model = nn.Sequential(nn.Dense(5), nn.ReLU(), nn.Dense(3)).build((4,), seed=1)
        x = fc.asarray(rng.standard_normal((6, 4)).astype(np.float32))
        y = fc.asarray(np.array([0, 1, 2, 0, 1, 2], np.int32))
        found = layer_statistics(model, x, y, SoftmaxCrossEntropy())
        assert [(row.name, row.kind) for row in found.rows] == [("0", "Dense"), ("1", "ReLU"), ("2", "Dense")]
        w0, b0, w2, b2 = (np.asarray(fc.to_numpy(parameter.data), np.float64) for parameter in model.parameters())
        hidden = np.asarray(fc.to_numpy(x), np.float64) @ w0 + b0
        fired = np.maximum(hidden, 0)
        logits = fired @ w2 + b2
        grad = np.exp(logits - logits.max(1, keepdims=True))
        grad = (grad / grad.sum(1, keepdims=True) - np.eye(3)[[0, 1, 2, 0, 1, 2]]) / 6
        for row, output, gradient in zip(
            found.rows, (hidden, fired, logits), (grad @ w2.T * (hidden > 0), grad @ w2.T, grad), strict=True
        ):
            for got, want in ((row.output, output), (row.gradient, gradient)):
                assert got.mean == pytest.approx(want.mean(), abs=1e-6)
                assert got.std == pytest.approx(want.std(), abs=1e-6)
                assert (got.min, got.max) == pytest.approx((want.min(), want.max()), abs=1e-6)
                assert got.zeros == np.mean(want == 0)
                assert sum(got.counts) == want.size
        assert found.rows[2].parameters["2.weight"].std == pytest.approx((fired.T @ grad).std(), abs=1e-6)
        assert not any(parameter.has_grad for parameter in model.parameters())
    assert str(found).splitlines()[3].split()[:2] == ["1", "ReLU"]
    assert len(json.loads(json.dumps(found.to_dict()))["rows"]) == 3


def test_without_a_loss_there_are_no_gradients(rng):
    with fc.use_backend("numpy"):
        x, y = data_of(rng, 4)
        assert all(row.gradient is None for row in layer_statistics(model_of(), x).rows)
        with pytest.raises(ArgumentError, match="loss: got None; allowed: both y and loss"):
            layer_statistics(model_of(), x, y)
        with pytest.raises(ArgumentError, match="bins: got 0"):
            layer_statistics(model_of(), x, bins=0)


@pytest.fixture
def half_dead():
    """A model of which units 1 and 3 of four never fire, and images."""
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Conv2d(4, 1), nn.ReLU(), nn.Flatten(), nn.Dense(2), nn.Sigmoid()).build((2, 2, 1))
        weight, bias, *_ = model.parameters()
        weight.data = np.array([1, 1, -1, 0], np.float32).reshape(1, 1, 1, 4)
        bias.data = np.array([0, -100, 0, 0], np.float32)
        x = np.zeros((6, 2, 2, 1), np.float32)
        x[1, 0, 1], x[5, 1, 1] = 3, -2  # unit 0 fires on one image only, unit 2 on another
        yield model, x


def test_units_that_never_fire(half_dead):
    model, x = half_dead
    found = dead_units(model, x, batch_size=2)
    relu, sigmoid = found.rows
    assert (relu.name, relu.kind, relu.units, relu.dead, relu.fraction) == ("1", "ReLU", 4, (1, 3), 0.5)
    assert (sigmoid.kind, sigmoid.fraction) == ("Sigmoid", 0.0)
    assert found.images == 6
    assert "1      ReLU         4     2  50.0%" in str(found)
    assert found.to_dict()["rows"][0]["fraction"] == 0.5
    assert dead_units(model, x[:5]).rows[0].dead == (1, 2, 3)


def test_data_may_be_batches_with_or_without_targets(half_dead):
    model, x = half_dead
    labels = np.zeros(3, np.int32)
    for data in ([(x[:3], labels), (x[3:], labels)], [x[:3], x[3:]], iter([x])):
        assert dead_units(model, data).rows[0].dead == (1, 3)


def test_nothing_to_look_at_is_refused(half_dead):
    model, x = half_dead
    with pytest.raises(DataError, match="data: got no images"):
        dead_units(model, [])
    with pytest.raises(ArgumentError, match="model: got one without an activation layer"):
        dead_units(nn.Sequential(nn.Flatten()).build((2, 2, 1)), x)


def test_a_graph_has_the_rows_of_a_sequential(rng):
    with fc.use_backend("numpy"):
        x, y = rng.standard_normal((3, 6, 6, 2)).astype(np.float32), np.zeros(3, np.int32)
        found = [layer_statistics(model, x, y, SoftmaxCrossEntropy()).rows for model in pair("residual")]
        dead = [dead_units(model, x).rows for model in pair("residual")]
    for row, graph_row in zip(*found, strict=True):
        assert (graph_row.kind, graph_row.output, graph_row.gradient) == (row.kind, row.output, row.gradient)
        assert list(graph_row.parameters.values()) == list(row.parameters.values())
    assert [(row.kind, row.dead) for row in dead[1]] == [(row.kind, row.dead) for row in dead[0]]
    assert [row.name for row in dead[1]] == ["n2", "n3.body.n2", "n4"]


def test_statistics_of_numbers_that_are_large_and_all_the_same():
    found = statistics_of(np.full(4, 1e38, np.float32))
    value = float(np.float32(1e38))
    assert (found.mean, found.std, found.min, found.max) == (value, 0.0, value, value)
    assert sum(found.counts) == 4
    with pytest.raises(ArgumentError, match="bins: got 0; allowed: an int of at least 1"):
        statistics_of(np.ones(3), bins=0)


def test_statistics_of_the_largest_numbers_do_not_overflow():
    found = statistics_of(np.array([1.5e308, 1.5e308, -1.5e308, -1.5e308]), bins=2)
    assert (found.mean, found.std) == pytest.approx((0.0, 1.5e308))
    assert (found.counts, found.edges) == ((2, 2), pytest.approx((-1.5e308, 0, 1.5e308)))
