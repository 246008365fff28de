"""Losses over elements: values by hand, weights, gradients, bad input."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.losses import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError
from fastconv.testing import gradcheck


def _call(loss, x, t, weight=None):
    given = (fc.asarray(np.array(a, float)) for a in (x, t, *([] if weight is None else [weight])))
    value, grad = loss(*given)
    return float(value), fc.to_numpy(grad)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("loss", "value", "slopes"),
    [
        (MeanSquaredError(), (0.25 + 9 + 0) / 3, [-1, 6, 0]),
        (MeanAbsoluteError(), 3.5 / 3, [-1, 1, 0]),
        (Huber(), (0.125 + 2.5 + 0) / 3, [-0.5, 1, 0]),
        (Huber(4), (0.125 + 4.5 + 0) / 3, [-0.5, 3, 0]),
        (Huber(0.25), (0.25 * 0.375 + 0.25 * 2.875 + 0) / 3, [-0.25, 0.25, 0]),
    ],
    ids=repr,
)
def test_values_by_hand(backend, loss, value, slopes):
    """Errors of -1/2, 3 and 0."""
    got, grad = _call(loss, [[0.5, 4, 7]], [[1, 1, 7]])
    assert got == pytest.approx(value)
    np.testing.assert_allclose(grad, np.array([slopes]) / 3, atol=1e-15)
    total, grad = _call(type(loss)(**{**loss.settings(), "reduction": "sum"}), [[0.5, 4, 7]], [[1, 1, 7]])
    assert total == pytest.approx(3 * value)
    np.testing.assert_allclose(grad, [slopes], atol=1e-15)


@pytest.mark.float64
def test_cross_entropy_of_pytorchs_documentation(backend):
    """The example of BCEWithLogitsLoss: 64 labels that hold, and a logit of 1.5 for each."""
    loss, _ = _call(BinaryCrossEntropy(pos_weight=np.ones(64)), np.full((10, 64), 1.5), np.ones((10, 64)))
    assert loss == pytest.approx(0.2014, abs=5e-5)
    assert loss == pytest.approx(math.log1p(math.exp(-1.5)))


def test_cross_entropy_by_hand(backend):
    """Logits log 3 and 0 are the probabilities 3/4 and 1/2; what holds counts five and two times."""
    x, t = [[math.log(3), 0.0], [math.log(3), 0.0]], [[1, 0], [0, 0.5]]
    loss, grad = _call(BinaryCrossEntropy(pos_weight=[5, 2]), x, t)
    assert loss == pytest.approx((5 * math.log(4 / 3) + math.log(2) + math.log(4) + 1.5 * math.log(2)) / 4)
    np.testing.assert_allclose(grad, np.array([[-1.25, 0.5], [0.75, -0.25]]) / 4)
    same = _call(BinaryCrossEntropy(pos_weight=3.0), x, t), _call(BinaryCrossEntropy(pos_weight=[3, 3]), x, t)
    np.testing.assert_array_equal(same[0][1], same[1][1])


@pytest.mark.float64
@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), MeanSquaredError(), MeanAbsoluteError(), Huber()], ids=repr)
def test_a_row_of_weight_two_counts_as_two(backend, rng, loss):
    x, t = rng.standard_normal((3, 2, 5)), rng.uniform(0, 1, (3, 2, 5))
    want, grad = _call(loss, x[[0, 0, 1]], t[[0, 0, 1]])
    x[2] = np.nan
    value, weighted = _call(loss, x, t, [2, 1, 0])
    assert value == pytest.approx(want)
    np.testing.assert_allclose(weighted, [2 * grad[0], grad[2], 0 * grad[2]], atol=1e-15)


@pytest.mark.float64
@pytest.mark.parametrize(
    "loss",
    [BinaryCrossEntropy(pos_weight=[0.5, 3, 1]), MeanSquaredError(reduction="sum"), MeanAbsoluteError(), Huber(0.7)],
    ids=repr,
)
def test_gradient(backend, rng, loss):
    t, weight = fc.asarray(rng.uniform(0, 1, (4, 3))), fc.asarray(rng.uniform(0.5, 2, 4))

    def function(x):
        value, grad = loss(x, t, weight)
        return value, lambda scale: fc.asarray(fc.to_numpy(grad) * fc.to_numpy(scale))

    gradcheck(function, rng.standard_normal((4, 3)))


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber()], ids=repr)
def test_what_is_no_number_stays_so(backend, loss):
    value, grad = loss(fc.asarray(np.array([[np.nan, 2]], np.float32)), fc.asarray(np.ones((1, 2), np.float32)))
    grad = fc.to_numpy(grad)
    assert math.isnan(float(value))
    assert np.isnan(grad[0, 0])
    assert np.isfinite(grad[0, 1])


ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    ("loss", "x", "t", "error", "text"),
    [
        (MeanSquaredError(), ONES, np.ones(3), ShapeError, r"targets: got shape \(3,\); allowed: \(3, 2\)"),
        (MeanSquaredError(), np.ones((3, 1)), np.ones(3), ShapeError, r"targets: got shape \(3,\); allowed: \(3, 1\)"),
        (MeanSquaredError(), ONES, ONES.astype(int), DTypeError, r"targets: got int64; .*targets.astype\('float32'\)"),
        (
            MeanSquaredError(),
            ONES,
            np.arange(len(ONES)),
            DTypeError,
            "class numbers.*classes: SoftmaxCross",
        ),
        (MeanSquaredError(), ONES, ONES.astype(np.float32), DTypeError, "targets: got float32; allowed: float64"),
        (MeanSquaredError(), np.ones(()), np.ones(()), ShapeError, r"predictions: got shape \(\); allowed: \(N, ...\)"),
        (MeanSquaredError(), np.ones((2, 0)), np.ones((2, 0)), ShapeError, r"predictions: got shape \(2, 0\)"),
        (MeanSquaredError(), [[1.0]], ONES, DTypeError, "predictions: got list; allowed: an array"),
        (BinaryCrossEntropy(), ONES, 2 * ONES, ArgumentError, "targets: got 2; allowed: finite numbers, from 0 to 1"),
        (BinaryCrossEntropy(), ONES, np.nan * ONES, ArgumentError, "targets: got nan; allowed: .*from 0 to 1"),
        (BinaryCrossEntropy(), ONES, ONES > 0, DTypeError, "targets: got bool"),
        (BinaryCrossEntropy(pos_weight=[1, 2, 3]), ONES, ONES, ShapeError, "pos_weight: got 3 weights; allowed: 2"),
    ],
)
def test_refuses(backend, loss, x, t, error, text):
    with pytest.raises(error, match=text):
        loss(x, t)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Huber(0), "delta: got 0; allowed: .*above 0"),
        (lambda: BinaryCrossEntropy(pos_weight=-1), "pos_weight: got -1; allowed: .*at least 0"),
        (lambda: MeanSquaredError(reduction=None), "reduction: got None; allowed: 'mean', 'sum'"),
    ],
)
def test_refuses_settings(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()
