"""Batch normalisation: running statistics, axes, and that training needs images."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ShapeError


@pytest.mark.float64
def test_batch_norm_moves_its_running_statistics(backend, rng):
    layer = nn.BatchNorm2d(momentum=0.25).build((3, 3, 2), np.float64)
    x = rng.normal(3, 2, (4, 3, 3, 2))
    layer.forward(fc.asarray(x), training=True)
    np.testing.assert_allclose(fc.to_numpy(layer.running_mean.data), 0.25 * x.mean((0, 1, 2)), rtol=1e-12)
    var = 0.75 + 0.25 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(fc.to_numpy(layer.running_var.data), var, rtol=1e-12)
    y = fc.to_numpy(layer(fc.asarray(x)))
    want = (x - 0.25 * x.mean((0, 1, 2))) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y, want, rtol=1e-10, atol=1e-12)


def test_a_running_variance_that_is_infinite_stays_so(backend, rng):
    """It was NaN after the next batch, and with it all that inference gave."""
    layer = nn.BatchNorm2d().build((3, 3, 2))
    x = rng.standard_normal((4, 3, 3, 2)).astype(np.float32)
    for factor in (1e25, 1, 1):
        layer.forward(fc.asarray(x * np.float32(factor)), training=True)
        assert np.isposinf(fc.to_numpy(layer.running_var.data)).all()
        np.testing.assert_array_equal(fc.to_numpy(layer(fc.asarray(x))), 0)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 4, 3), (2, 6, 5, 4, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_takes_two_or_four_axes(backend, shape, training):
    layer = nn.BatchNorm2d().build((5, 4, 3))
    x = fc.asarray(np.ones(shape, np.float32))
    if len(shape) in (2, 4):
        layer.forward(x, training=training)
    else:
        with pytest.raises(ShapeError, match=r"allowed: \(N, H, W, C\) or \(N, C\)"):
            layer.forward(x, training=training)
    three = nn.BatchNorm2d().build((3,))
    with pytest.raises(ShapeError, match=r"x of BatchNorm2d: got shape \(2, 4, 3\)"):
        three.forward(fc.asarray(np.ones((2, 4, 3), np.float32)), training=training)


def test_batch_norm_needs_images_in_training(backend):
    layer = nn.BatchNorm2d().build((3, 3, 2))
    with pytest.raises(ShapeError, match="at least one image"):
        layer.forward(fc.asarray(np.zeros((0, 3, 3, 2), np.float32)), training=True)


@pytest.mark.float64
def test_without_a_scale_gamma_is_a_buffer_of_ones(backend, rng, tmp_path):
    """As with one that is 1, beside that it is no parameter."""
    with_scale, without = (nn.BatchNorm2d(scale=scale).build((5, 4, 3), np.float64) for scale in (True, False))
    assert [p.name for p in without.parameters()] == ["beta"]
    assert [b.name for b in without.buffers()] == ["gamma", "running_mean", "running_var"]
    assert without.summary().parameters == 3
    x, grad = (fc.asarray(rng.standard_normal((2, 5, 4, 3))) for _ in range(2))
    found = []
    for layer in (with_scale, without):
        y, context = layer.forward(x, training=True)
        layer.zero_grad()
        back = layer.backward(grad, context)
        layer.backward(grad, context)  # the second one is added
        tensors = (y, back, layer.beta.grad, layer.running_mean.data, layer.running_var.data, layer(x))
        found.append([fc.to_numpy(tensor).copy() for tensor in tensors])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(fc.to_numpy(without.gamma.data), np.ones(3))
    without.save_weights(tmp_path / "w.safetensors")
    again = nn.BatchNorm2d(scale=False).build((5, 4, 3), np.float64)
    again.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(fc.to_numpy(again(x)), found[1][-1])


def test_without_a_scale_beta_alone_is_frozen(backend):
    layer = nn.BatchNorm2d(scale=False).build((4, 4, 2))
    assert not layer.is_frozen
    assert layer.freeze().is_frozen
    x = fc.asarray(np.ones((2, 4, 4, 2), np.float32))
    layer.forward(x, training=True)
    assert not fc.to_numpy(layer.running_mean.data).any()
