"""Metrics of errors: by hand, far from zero, and that the mean bias error does not train."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import metrics, nn
from fastconv.errors import ArgumentError


def measure(metric, predictions, targets):
    return metric(fc.asarray(np.array(predictions, float)), fc.asarray(np.array(targets, float)))


def test_by_hand(backend):
    """Errors -1/2, 1/2, 0 and 1: the example of scikit-learn's r2_score, which says 0.948..."""
    x, t = [2.5, 0.0, 2, 8], [3, -0.5, 2, 7]
    assert measure(metrics.MeanBiasError(), x, t) == 0.25
    assert measure(metrics.MeanAbsoluteError(), x, t) == 0.5
    assert measure(metrics.R2Score(), x, t) == pytest.approx(1 - 1.5 / 29.1875)
    assert 0.948 < measure(metrics.R2Score(), x, t) < 0.949


def test_r2_of_the_mean_is_zero_and_of_several_places_their_mean(backend, rng):
    t = rng.standard_normal((50, 2, 3))
    assert measure(metrics.R2Score(), np.broadcast_to(t.mean(0), t.shape).copy(), t) == pytest.approx(0, abs=1e-13)
    x = t.copy()
    x[:, 0, 0] = t[:, 0, 0].mean()
    assert measure(metrics.R2Score(), x, t) == pytest.approx(5 / 6)


def test_targets_that_are_all_equal(backend):
    t = np.full((5, 1), 0.1)
    assert measure(metrics.R2Score(), t, t) == 1
    assert measure(metrics.R2Score(), t + 1, t) == 0


def test_far_from_zero_keeps_its_digits(backend, rng):
    """Summed as they are, squares of a million would leave nothing of a variance of one."""
    t = 1e6 + rng.standard_normal((1000, 1))
    x = t + 0.1 * rng.standard_normal((1000, 1))
    want = 1 - ((x - t) ** 2).sum() / ((t - t.mean()) ** 2).sum()
    assert measure(metrics.R2Score(), x, t) == pytest.approx(want, rel=1e-9)


def test_nothing_is_no_number(backend):
    for metric in (metrics.MeanBiasError(), metrics.MeanAbsoluteError(), metrics.R2Score()):
        for shape in ((0, 2), (2, 0), (2, 3, 0)):
            assert math.isnan(measure(metric, np.zeros(shape), np.zeros(shape)))


@pytest.mark.parametrize("t", [np.zeros(3), np.zeros((3, 1), np.float32), np.zeros((3, 1), int)])
def test_refuses(backend, t):
    with pytest.raises(ArgumentError, match=r"r2: got .* allowed: two arrays of one shape and type"):
        metrics.R2Score()(np.zeros((3, 1)), t)


def test_the_mean_bias_error_is_no_loss():
    """Errors cancel, and its slope says nothing of them; who tries is told."""
    assert measure(metrics.MeanBiasError(), [9, -9], [1, -1]) == 0
    model = nn.Sequential(nn.Dense(1)).build((2,), seed=0)
    text = "loss: got MeanBiasError.* a metric, .*gradient of the mean bias error is a constant.*MeanSquaredError"
    with pytest.raises(ArgumentError, match=text):
        fc.Trainer(model, metrics.MeanBiasError(), fc.optim.SGD(model.parameters(), 0.1))
