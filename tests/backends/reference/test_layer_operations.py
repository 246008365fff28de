"""The reference's operations of single layers against loops over single numbers and hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastconv.backends import get_backend


@pytest.fixture
def reference():
    return get_backend("numpy")


def slope_by_steps(function, x, step=1e-6):
    """The gradient of a number by central differences."""
    grad = np.empty_like(x)
    for at in np.ndindex(*x.shape):
        kept, values = x[at], []
        for moved in (kept + step, kept - step):
            x[at] = moved
            values.append(function(x))
        x[at] = kept
        grad[at] = (values[0] - values[1]) / (2 * step)
    return grad


def test_a_bias_is_added_to_its_channel(reference):
    out = np.empty((2, 2))
    reference.add_bias(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 20.0]), out=out)
    np.testing.assert_array_equal(out, [[11, 22], [13, 24]])


@pytest.mark.parametrize(("slope", "grad_slope"), [([2.0, 3.0], [-10.0, -80.0]), ([2.0], [-90.0])])
def test_prelu_by_hand(reference, slope, grad_slope):
    x, slope, out = np.array([[-1.0, 2.0], [3.0, -4.0], [0.0, -0.0]]), np.array(slope), np.empty((3, 2))
    second = slope[-1]
    reference.prelu(x, slope, out=out)
    np.testing.assert_array_equal(out, [[-2, 2], [3, -4 * second], [0, 0]])
    grad, got = np.array([[10.0, 10.0], [20.0, 20.0], [1.0, 1.0]]), np.empty(slope.shape)
    reference.prelu_backward(grad, x, slope, out=out, grad_slope=got, workspace=reference.pool)
    np.testing.assert_array_equal(out, [[20, 10], [20, 20 * second], [2, second]])
    np.testing.assert_array_equal(got, grad_slope)


def test_softmax_by_hand(reference):
    x, y = np.log([[1.0, 3.0], [2.0, 2.0]]), np.empty((2, 2))
    reference.softmax(x, out=y)
    np.testing.assert_allclose(y, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    grad = np.empty((2, 2))
    reference.softmax_backward(np.array([[4.0, 0.0], [1.0, 1.0]]), y, out=grad)
    np.testing.assert_allclose(grad, [[0.75, -0.75], [0, 0]], atol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_equals_loops(reference, rng, size):
    x, y = rng.standard_normal((2, 5)), np.empty((2, 5))
    setting = {"size": size, "alpha": 0.7, "beta": 0.6, "k": 1.3}
    reference.local_response_norm(x, **setting, out=y)
    for n in range(2):
        for c in range(5):
            window = [x[n, i] ** 2 for i in range(c - size // 2, c + (size - 1) // 2 + 1) if 0 <= i < 5]
            assert y[n, c] == pytest.approx(x[n, c] / (1.3 + 0.7 / size * sum(window)) ** 0.6, rel=1e-12)
    g, grad, out = rng.standard_normal((2, 5)), np.empty((2, 5)), np.empty((2, 5))
    reference.local_response_norm_backward(g, x, **setting, out=grad)

    def cost(x):
        reference.local_response_norm(x, **setting, out=out)
        return (g * out).sum()

    np.testing.assert_allclose(grad, slope_by_steps(cost, x), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_equals_loops(reference, rng, groups):
    x, gamma, beta = rng.standard_normal((2, 2, 3, 6)) + 2, rng.standard_normal(6), rng.standard_normal(6)
    y, mean, rstd = np.empty(x.shape), np.empty((2, 2, groups)), np.empty((2, groups))
    how = {"eps": 0.1, "mean": mean, "rstd": rstd, "workspace": reference.pool}
    reference.group_norm(x, gamma, beta, out=y, **how)
    wide = 6 // groups
    for n in range(2):
        for g in range(groups):
            part = x[n, :, :, g * wide : (g + 1) * wide]
            middle = sum(part.ravel()) / part.size
            spread = sum((v - middle) ** 2 for v in part.ravel()) / part.size
            assert mean[:, n, g].sum() == pytest.approx(middle, rel=1e-13)
            assert rstd[n, g] == pytest.approx(1 / math.sqrt(spread + 0.1), rel=1e-12)
            for c in range(g * wide, (g + 1) * wide):
                want = (x[n, :, :, c] - middle) / math.sqrt(spread + 0.1) * gamma[c] + beta[c]
                np.testing.assert_allclose(y[n, :, :, c], want, rtol=1e-11, atol=1e-12)
    weights, out = rng.standard_normal(x.shape), np.empty(x.shape)
    grads = {"grad_input": np.empty(x.shape), "grad_gamma": np.empty(6), "grad_beta": np.empty(6)}
    reference.group_norm_backward(weights, x, gamma, mean.copy(), rstd.copy(), **grads, workspace=reference.pool)

    def cost(_):
        reference.group_norm(x, gamma, beta, out=out, **how)
        return (weights * out).sum()

    for name, values in (("grad_input", x), ("grad_gamma", gamma), ("grad_beta", beta)):
        np.testing.assert_allclose(grads[name], slope_by_steps(cost, values), rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (5, 7), (4, 4)])
def test_adaptive_pooling_equals_loops(reference, rng, size):
    x, y = rng.standard_normal((1, 4, 5, 2)), np.empty((1, *size, 2))
    g, grad, want = rng.standard_normal((1, *size, 2)), np.empty((1, 4, 5, 2)), np.zeros((1, 4, 5, 2))
    reference.adaptive_avg_pool2d(x, out=y)
    reference.adaptive_avg_pool2d_backward(g, out=grad)
    for p in range(size[0]):
        for q in range(size[1]):
            rows = range(math.floor(p * 4 / size[0]), math.ceil((p + 1) * 4 / size[0]))
            columns = range(math.floor(q * 5 / size[1]), math.ceil((q + 1) * 5 / size[1]))
            cells = [(h, w) for h in rows for w in columns]
            total = sum(x[0, h, w] for h, w in cells)
            np.testing.assert_allclose(y[0, p, q], total / len(cells), rtol=1e-12)
            for h, w in cells:
                want[0, h, w] += g[0, p, q] / len(cells)
    np.testing.assert_allclose(grad, want, rtol=1e-12)


def test_enlarging_equals_loops(reference, rng):
    x, y = rng.standard_normal((1, 2, 3, 2)), np.empty((1, 6, 6, 2))
    reference.upsample2d(x, scale=(3, 2), out=y)
    g, grad, want = rng.standard_normal(y.shape), np.empty(x.shape), np.zeros(x.shape)
    reference.upsample2d_backward(g, scale=(3, 2), out=grad)
    for h in range(6):
        for w in range(6):
            np.testing.assert_array_equal(y[0, h, w], x[0, h // 3, w // 2])
            want[0, h // 3, w // 2] += g[0, h, w]
    np.testing.assert_allclose(grad, want, rtol=1e-12)
