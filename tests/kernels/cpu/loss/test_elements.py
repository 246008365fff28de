"""Losses over elements: many tasks, long sums, and the digits of cross-entropies near zero."""

import numpy as np
import pytest

from fastconv.backends.memory import Pool
from fastconv.kernels.cpu.loss.losses import loss_and_grad
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.losses import LOSSES

_HOW = {"channel_weight": None, "sample_weight": None, "ignore_index": None, "mean": True}


def _loss(name, x, t, **how):
    loss, grad = np.full((), np.nan, x.dtype), np.full_like(x, np.nan)
    loss_and_grad(LOSSES[name](), x, t, **{**_HOW, **how}, loss=loss, grad=grad, workspace=Pool())
    return loss, grad


@pytest.mark.parametrize("shape", [(40_001,), (3, 13_337)])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_over_many_tasks(shape, weighted):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, *shape)).astype(np.float32)
    w = rng.uniform(0, 2, shape[0]).astype(np.float32) if weighted else np.ones(shape[0], np.float32)
    loss, grad = _loss("mean_squared_error", x, t, sample_weight=w if weighted else None)
    weights = np.broadcast_to(w.reshape(-1, *[1] * (len(shape) - 1)), shape).astype(np.float64)
    np.testing.assert_allclose(loss, np.average((x.astype(np.float64) - t) ** 2, weights=weights), rtol=1e-6)
    np.testing.assert_allclose(grad, 2 * weights * (x.astype(np.float64) - t) / weights.sum(), rtol=1e-5)


def test_a_long_sum_keeps_its_digits():
    """All roundings of one sign: 32 additions in float32, and no more."""
    x = np.full(2_000_003, 0.1, np.float32)
    loss, _ = _loss("mean_absolute_error", x, np.zeros_like(x))
    np.testing.assert_allclose(loss, np.float32(0.1), rtol=33 * 2**-24)


@pytest.mark.parametrize(("logit", "target"), [(40.0, 1.0), (-40.0, 0.0)])
def test_what_is_nearly_certain_costs_what_is_left(logit, target):
    loss, grad = _loss("binary_cross_entropy", np.array([logit], np.float32), np.array([target], np.float32))
    np.testing.assert_allclose(loss, np.exp(-40.0), rtol=1e-6)
    np.testing.assert_allclose(np.abs(grad), np.exp(-40.0), rtol=1e-6)


@pytest.mark.parametrize("logit", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_cross_entropy_of_what_is_not_finite(logit, target):
    """A term without a share costs nothing, also where its logarithm is infinite."""
    loss, _ = _loss("binary_cross_entropy", np.array([logit], np.float32), np.array([target], np.float32))
    right = (logit > 0) == (target > 0.5) and target != 0.5
    want = np.nan if np.isnan(logit) else 0.0 if right else np.inf
    np.testing.assert_array_equal(loss, want)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.over == "elements"])
def test_threads_change_no_bit(name):
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((70_001,)).astype(np.float32), rng.uniform(0, 1, 70_001).astype(np.float32)
    before, results = launch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launch.set_num_threads(threads)
            results.append(tuple(array.tobytes() for array in _loss(name, x, t)))
    finally:
        launch.set_num_threads(before)
    assert results[0] == results[1] == results[2]
