"""The loss: digits where they are few, values that are not finite, and the same bits from any number of threads."""

import numpy as np
import pytest

from fastconv.backends.memory import Pool
from fastconv.kernels.cpu.loss.losses import loss_and_grad
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.losses import LOSSES


def _loss(logits, labels, smoothing=0.0):
    loss, grad = np.full((), np.nan, logits.dtype), np.full_like(logits, np.nan)
    how = {"channel_weight": None, "sample_weight": None, "ignore_index": None, "mean": True, "workspace": Pool()}
    chosen = LOSSES["softmax_cross_entropy"](smoothing)
    loss_and_grad(chosen, logits, np.asarray(labels, np.int32), **how, loss=loss, grad=grad)
    return loss, grad


def _expected(logits, labels, smoothing=0.0):
    rows, classes = logits.shape
    shift = logits.astype(np.float64) - logits.max(1, keepdims=True).astype(np.float64)
    log_p = shift - np.log(np.exp(shift).sum(1, keepdims=True))
    target = np.full((rows, classes), smoothing / classes)
    target[np.arange(rows), labels] += 1 - smoothing
    return -(target * log_p).sum() / rows, (np.exp(log_p) - target) / rows


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 10, 15, 16, 17, 33, 100, 1000])
def test_any_number_of_classes(classes, smoothing, dtype):
    rng = np.random.default_rng(classes)
    logits = (3 * rng.standard_normal((11, classes))).astype(dtype)
    labels = rng.integers(0, classes, 11)
    loss, grad = _loss(logits, labels, smoothing)
    expected_loss, expected_grad = _expected(logits, labels, smoothing)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected_loss, rtol=4 * eps, atol=1e-15)
    np.testing.assert_allclose(grad, expected_grad, rtol=0, atol=8 * eps / 11)


@pytest.mark.parametrize("largest", [0, 5, 9])
def test_all_logits_below_zero(largest):
    """The lanes beyond the last class hold zeros, which must not count as the largest logit."""
    logits = np.full((3, 10), -500, np.float32)
    logits[:, largest] = -400
    loss, grad = _loss(logits, [largest] * 3)
    assert loss == 0
    np.testing.assert_allclose(grad, 0, atol=1e-40)


@pytest.mark.parametrize("classes", [3, 10, 40])
def test_gradient_near_zero_keeps_its_digits(classes):
    """A label that is nearly certain: p - 1 is what the other classes have, not what rounding leaves of 1 - 1."""
    logits = np.zeros((1, classes), np.float32)
    logits[0, 1] = 20
    _, grad = _loss(logits, [1])
    others = (classes - 1) * np.exp(-20.0)
    np.testing.assert_allclose(grad[0, 1], -others / (1 + others), rtol=1e-6)


def test_loss_near_zero_keeps_its_digits():
    loss, _ = _loss(np.array([[30, 0, 0]], np.float32), [0])
    np.testing.assert_allclose(loss, np.log1p(2 * np.exp(-30.0)), rtol=1e-3)


@pytest.mark.parametrize("place", [0, 4, 9, 16, 39])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_row_that_is_not_finite_spoils_itself_alone(place, value):
    logits = np.random.default_rng(1).standard_normal((3, 40)).astype(np.float32)
    logits[1, place] = value
    loss, grad = _loss(logits, [0, 1, 2])
    assert np.isnan(loss)
    assert np.isnan(grad[1]).all()
    assert np.isfinite(grad[[0, 2]]).all()


def test_impossible_class_has_no_share():
    logits = np.array([[0, -np.inf, 0]], np.float32)
    loss, grad = _loss(logits, [0])
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(grad, [[-0.5, 0, 0.5]], rtol=1e-6)
    assert _loss(logits, [1])[0] == np.inf


def test_empty_batch_has_loss_zero():
    loss, grad = _loss(np.empty((0, 10), np.float32), [])
    assert loss == 0
    assert grad.shape == (0, 10)


@pytest.mark.parametrize("shape", [(5000, 10), (100, 1000)])
def test_threads_change_no_bit(shape):
    rng = np.random.default_rng(3)
    logits, labels = rng.standard_normal(shape).astype(np.float32), rng.integers(0, shape[1], shape[0])
    before, results = launch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launch.set_num_threads(threads)
            results.append(tuple(array.tobytes() for array in _loss(logits, labels, 0.1)))
    finally:
        launch.set_num_threads(before)
    assert results[0] == results[1] == results[2]
