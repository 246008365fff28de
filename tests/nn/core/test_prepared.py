"""Prepared weights: once for each version, direction, shape, precision and algorithm."""

import numpy as np

import fastconv as fc
from fastconv import nn


def test_weights_are_prepared_once_per_version(backend, rng, monkeypatch):
    layer = nn.Conv2d(4, 3, padding=1).build((6, 6, 3))
    calls = []
    prepare = backend.prepare_conv2d_weight

    def counted(weight, **keywords):
        calls.append((keywords["geometry"].is_transposed, keywords["input_shape"], keywords["precision"]))
        return prepare(weight, **keywords)

    monkeypatch.setattr(backend, "prepare_conv2d_weight", counted)
    x = fc.asarray(rng.standard_normal((2, 6, 6, 3)).astype(np.float32))
    for _ in range(3):
        y, context = layer.forward(x, training=True)
        layer.backward(y, context)
    assert calls == [(transposed, (2, 6, 6, 3), "default") for transposed in (False, True)]
    layer(x[:1])
    with fc.precision("strict"):
        layer(x)
    assert len(calls) == 4
    layer.weight.touch()
    layer(x)
    layer(x)
    assert len(calls) == 5
    for batch in range(20):  # many shapes do not pile up
        layer(fc.asarray(np.zeros((batch, 6, 6, 3), np.float32)))
    assert len(layer._prepared._state[1]) <= 8


def test_dense_weights_are_prepared_for_what_they_depend_on(backend, rng, monkeypatch):
    layer = nn.Dense(4).build((6,))
    calls = []
    prepare = backend.prepare_dense_weight

    def counted(weight, **keywords):
        calls.append((keywords["direction"], keywords["batch"], keywords["precision"]))
        return prepare(weight, **keywords)

    monkeypatch.setattr(backend, "prepare_dense_weight", counted)
    x = fc.asarray(rng.standard_normal((5, 6)).astype(np.float32))
    for _ in range(2):
        y, context = layer.forward(x, training=True)
        layer.backward(y, context)
        layer(x[:2])
        with fc.precision("strict"):
            layer(x)
    assert calls == [
        *(("forward", 5, "default"), ("backward_input", 5, "default")),
        *(("forward", 2, "default"), ("forward", 5, "strict")),
    ]
    layer.bias.touch()
    layer(x)
    assert len(calls) == 4
    layer.weight.touch()
    layer(x)
    assert len(calls) == 5


def test_prepared_weights_are_those_of_the_algorithm(rng):
    """A layer that has run with one algorithm gives the other one's bits as a new layer does."""
    x = rng.standard_normal((2, 12, 12, 32)).astype(np.float32)

    def layer():
        return nn.Conv2d(32, 3, padding=1).build((12, 12, 32), seed=1)

    one, results = layer(), {}
    for algorithm in ("direct", "winograd", "shapes", "winograd", "direct"):
        with fc.algorithm(algorithm):
            results[algorithm] = one(x)
            np.testing.assert_array_equal(results[algorithm], layer()(x))
    assert not np.array_equal(results["direct"], results["winograd"])
