"""Losses over rows of scores: values by hand, weights, what is left out, gradients, bad input."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.losses import MulticlassHinge, SoftmaxCrossEntropy, SquaredHinge
from fastconv.testing import gradcheck


@pytest.mark.float64
def test_value_by_hand(backend):
    """Logits 0 and log 3 are the probabilities 1/4 and 3/4."""
    logits = fc.asarray(np.array([[0.0, math.log(3)], [0.0, math.log(3)]]))
    loss, grad = SoftmaxCrossEntropy()(logits, fc.asarray(np.array([0, 1], np.int32)))
    assert fc.to_numpy(loss).shape == ()
    assert float(loss) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-14)
    np.testing.assert_allclose(fc.to_numpy(grad), [[-0.375, 0.375], [0.125, -0.125]], rtol=1e-13)
    smooth, _ = SoftmaxCrossEntropy(0.5)(logits, fc.asarray(np.array([0, 1], np.int32)))
    assert float(smooth) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-14)  # the same, by symmetry


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient(backend, rng, smoothing):
    loss, labels = SoftmaxCrossEntropy(smoothing), fc.asarray(np.array([0, 3, 1, 2, 2], np.int32))

    def function(logits):
        value, grad = loss(logits, labels)
        return value, lambda scale: fc.asarray(fc.to_numpy(grad) * fc.to_numpy(scale))

    gradcheck(function, rng.standard_normal((5, 4)))


def test_integer_labels_of_any_width(backend, rng):
    logits = fc.asarray(rng.standard_normal((3, 4)))
    want = float(SoftmaxCrossEntropy()(logits, fc.asarray(np.array([3, 0, 1], np.int32)))[0])
    for dtype in (np.uint8, np.int64):
        assert float(SoftmaxCrossEntropy()(logits, fc.asarray(np.array([3, 0, 1], dtype)))[0]) == want


def test_no_images(backend):
    loss, grad = SoftmaxCrossEntropy()(fc.asarray(np.zeros((0, 3))), fc.asarray(np.zeros(0, np.int32)))
    assert float(loss) == 0.0
    assert grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("logits", "labels", "error"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), ArgumentError),
        (np.zeros((2, 3)), np.array([-1, 0]), ArgumentError),
        (np.zeros((2, 3)), np.array([2**32, 0]), ArgumentError),
        (np.zeros((2, 3)), np.array([0, 1, 2]), ShapeError),
        (np.zeros((2, 3)), np.array([[0], [1]]), ShapeError),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), DTypeError),
        (np.zeros(3), np.array([0]), ShapeError),
        (np.zeros((2, 0)), np.array([0, 0]), ShapeError),
        (np.zeros((2, 3), np.int64), np.array([0, 1]), DTypeError),
    ],
)
def test_refuses(backend, logits, labels, error):
    with pytest.raises(error, match=r"(labels|logits): got"):
        SoftmaxCrossEntropy()(fc.asarray(logits), fc.asarray(labels))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, "much", float("nan")])
def test_refuses_smoothing(smoothing):
    with pytest.raises(ArgumentError, match="label_smoothing"):
        SoftmaxCrossEntropy(smoothing)


def _call(loss, scores, labels, weight=None):
    value, grad = loss(
        fc.asarray(np.array(scores, float)),
        fc.asarray(np.array(labels)),
        None if weight is None else fc.asarray(np.array(weight, float)),
    )
    return float(value), fc.to_numpy(grad)


@pytest.mark.float64
def test_hinge_of_cs231n(backend):
    """The two worked examples of its notes on linear classification, and the first loss of ten classes, 9."""
    assert _call(MulticlassHinge(10), [[13, -7, 11]], [0])[0] == 8
    loss, grad = _call(MulticlassHinge(), [[-2.85, 0.86, 0.28]], [2])
    assert loss == pytest.approx(1.58)
    np.testing.assert_array_equal(grad, [[0, 1, -1]])
    assert _call(SquaredHinge(10), [[13, -7, 11]], [0])[0] == 64
    state = np.random.RandomState(231)
    scores, labels = 0.001 * state.randn(50, 10), state.randint(10, size=50)
    assert _call(MulticlassHinge(), scores, labels)[0] == pytest.approx(9, abs=1e-2)


def test_softmax_of_cs231n(backend):
    assert _call(SoftmaxCrossEntropy(), [[-2.85, 0.86, 0.28]], [2])[0] == pytest.approx(1.04, abs=5e-3)


@pytest.mark.float64
def test_margins_of_pytorchs_documentation(backend):
    """The example of MultiMarginLoss, which divides by the number of classes too."""
    assert _call(MulticlassHinge(), [[0.1, 0.2, 0.4, 0.8]], [3])[0] / 4 == pytest.approx(0.325)


def test_class_weights_count_rows(backend):
    """Costs log 4 and log 4/3, of weights 2 and 1."""
    scores = [[0.0, math.log(3)], [0.0, math.log(3)]]
    want = (2 * math.log(4) + math.log(4 / 3)) / 3
    assert _call(SoftmaxCrossEntropy(class_weight=[2, 1]), scores, [0, 1])[0] == pytest.approx(want)
    assert _call(SoftmaxCrossEntropy(), scores, [0, 1], [2, 1])[0] == pytest.approx(want)
    total = _call(SoftmaxCrossEntropy(class_weight=[2, 1], reduction="sum"), scores, [0, 1])[0]
    assert total == pytest.approx(3 * want)


@pytest.mark.float64
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, MulticlassHinge, SquaredHinge])
def test_a_row_of_weight_two_counts_as_two(backend, rng, loss):
    scores, labels = rng.standard_normal((3, 4)), [1, 3, 0]
    want, grad = _call(loss(), scores[[0, 0, 1]], [1, 1, 3])
    value, weighted = _call(loss(), scores, labels, [2, 1, 0])
    assert value == pytest.approx(want)
    np.testing.assert_allclose(weighted, [2 * grad[0], grad[2], 0 * grad[2]], atol=1e-15)


@pytest.mark.float64
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, MulticlassHinge, SquaredHinge])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_ignored_rows_are_left_out(backend, rng, loss, ignored):
    scores, labels = rng.standard_normal((5, 4)), np.array([0, ignored, 3, ignored, 1])
    kept = labels != ignored
    want, grad = _call(loss(), scores[kept], labels[kept])
    scores[~kept] = np.nan
    value, given = _call(loss(ignore_index=ignored), scores, labels)
    assert value == pytest.approx(want)
    np.testing.assert_allclose(given[kept], grad, atol=1e-15)
    assert not given[~kept].any()


@pytest.mark.float64
def test_rows_of_targets(backend, rng):
    """One class alone is its number; two mixed are as much of both losses."""
    scores, one, other = rng.standard_normal((6, 5)), rng.integers(0, 5, 6), rng.integers(0, 5, 6)
    for smoothing in (0.0, 0.2):
        loss = SoftmaxCrossEntropy(smoothing)
        numbers, shares = _call(loss, scores, one), _call(loss, scores, np.eye(5)[one])
        assert shares[0] == pytest.approx(numbers[0])
        np.testing.assert_allclose(shares[1], numbers[1], atol=1e-15)
        mixed = _call(loss, scores, 0.3 * np.eye(5)[one] + 0.7 * np.eye(5)[other])[0]
        assert mixed == pytest.approx(0.3 * numbers[0] + 0.7 * _call(loss, scores, other)[0])


def test_a_distribution_costs_its_entropy_at_least(backend, rng):
    """Distillation: where the softmax is the target the gradient is zero."""
    scores = rng.standard_normal((4, 7))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    loss, grad = _call(SoftmaxCrossEntropy(), scores, p)
    assert loss == pytest.approx(-(p * np.log(p)).sum() / 4)
    np.testing.assert_allclose(grad, 0, atol=1e-15)


@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxCrossEntropy(0.2, class_weight=[1, 2, 0.5, 3], ignore_index=-1),
        MulticlassHinge(0.5, class_weight=[1, 2, 0.5, 3]),
        SquaredHinge(reduction="sum"),
    ],
    ids=repr,
)
def test_gradient_with_weights(backend, rng, loss):
    labels = fc.asarray(np.array([0, 3, 1, 2, -1 if loss.ignore_index else 2], np.int32))
    weight = fc.asarray(rng.uniform(0.5, 2, 5))

    def function(scores):
        value, grad = loss(scores, labels, weight)
        return value, lambda scale: fc.asarray(fc.to_numpy(grad) * fc.to_numpy(scale))

    gradcheck(function, rng.standard_normal((5, 4)))


SCORES, LABELS = np.zeros((3, 4)), np.array([0, 1, 3])
BAD = [
    *(
        (loss(), labels, None, DTypeError, f"labels: got {type(labels).__name__}; allowed: an array of the backend")
        for loss in (SoftmaxCrossEntropy, MulticlassHinge, SquaredHinge)
        for labels in ([0, 1, 3], None, "013")
    ),
    (SoftmaxCrossEntropy(class_weight=[1, 2]), LABELS, None, ShapeError, "class_weight: got 2 weights; allowed: 4"),
    (
        MulticlassHinge(ignore_index=-1),
        LABELS * 0 - 1,
        None,
        ArgumentError,
        "labels: got the ignore_index, -1, in all 3",
    ),
    (SquaredHinge(ignore_index=-1), LABELS - 2, None, ArgumentError, "labels: got -2; allowed: .* 0 to 3, and -1"),
    (SoftmaxCrossEntropy(), np.full((3, 4), -0.25), None, ArgumentError, "labels: got -0.25; allowed: .*at least 0"),
    (SoftmaxCrossEntropy(), np.full((3, 4), np.nan), None, ArgumentError, "labels: got nan; allowed: finite"),
    (SoftmaxCrossEntropy(), np.zeros((3, 5)), None, ShapeError, r"labels: got shape \(3, 5\); allowed: \(3, 4\)"),
    (SoftmaxCrossEntropy(), np.zeros((3, 4), np.float32), None, DTypeError, "labels: got float32; allowed: float64"),
    (
        SoftmaxCrossEntropy(),
        np.eye(4, dtype=int)[LABELS],
        None,
        ShapeError,
        r"labels: got int64 \(3, 4\); .*of floats",
    ),
    (MulticlassHinge(), np.eye(4)[LABELS], None, DTypeError, "got float64 .* integer type .*SoftmaxC"),
    (MulticlassHinge(), LABELS, np.ones(4), ShapeError, r"sample_weight: got shape \(4,\); allowed: \(3,\)"),
    (MulticlassHinge(), LABELS, np.array([1, -1, 1.0]), ArgumentError, "sample_weight: got -1; allowed: .*at least 0"),
    (MulticlassHinge(), LABELS, np.array([1, np.inf, 1]), ArgumentError, "sample_weight: got inf; allowed: finite"),
    (MulticlassHinge(), LABELS, np.zeros(3), ArgumentError, "sample_weight: got nothing but 0"),
    (MulticlassHinge(), LABELS, np.ones(3, int), DTypeError, "sample_weight: got int64; allowed: float"),
]


@pytest.mark.parametrize(("loss", "labels", "weight", "error", "text"), BAD)
def test_refuses_targets_and_weights(backend, loss, labels, weight, error, text):
    with pytest.raises(error, match=text):
        loss(SCORES, labels, weight)


def test_nothing_left_sums_to_nothing(backend):
    value, grad = _call(MulticlassHinge(ignore_index=-1, reduction="sum"), SCORES, LABELS * 0 - 1)
    assert value == 0
    assert not grad.any()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MulticlassHinge(-1), "margin: got -1; allowed: .*at least 0"),
        (lambda: SquaredHinge(float("inf")), "margin: got inf"),
        (lambda: SoftmaxCrossEntropy(class_weight=[1, -1]), "class_weight: got -1; allowed: .*at least 0"),
        (
            lambda: SoftmaxCrossEntropy(class_weight=[[1], [1, 2]]),
            "class_weight: got .*; allowed: numbers, in an array",
        ),
        (lambda: SoftmaxCrossEntropy(class_weight=[1, float("nan")]), "class_weight: got nan"),
        (lambda: SoftmaxCrossEntropy(class_weight=[0, 0]), "class_weight: got nothing but 0"),
        (lambda: SoftmaxCrossEntropy(class_weight="balanced"), "class_weight: got 'balanced'; allowed: a list"),
        (lambda: SoftmaxCrossEntropy(class_weight=[[1, 2]]), "class_weight: got .*; allowed: a list"),
        (lambda: SoftmaxCrossEntropy(ignore_index=0.5), "ignore_index: got 0.5; allowed: an int"),
        (lambda: SoftmaxCrossEntropy(reduction="none"), "reduction: got 'none'; allowed: 'mean', 'sum'"),
    ],
)
def test_refuses_settings(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


@pytest.mark.parametrize("value", [2**31, 2**32 - 1, 2**32, 2**63, -(2**31) - 1])
@pytest.mark.parametrize("cls", [SoftmaxCrossEntropy, MulticlassHinge, SquaredHinge])
def test_a_label_to_ignore_that_kernels_cannot_hold_is_refused(cls, value):
    with pytest.raises(
        ArgumentError, match=f"ignore_index: got {value}; allowed: an int from -2147483648 to 2147483647"
    ):
        cls(ignore_index=value)


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31)])
def test_the_outermost_labels_to_ignore(value):
    scores = np.array([[0.0, 9.0, 0.0]] * 4)
    for dtype in (np.int64, np.int32):
        found = SoftmaxCrossEntropy(ignore_index=value)(scores, np.array([value, 1, 1, 1], dtype))[0]
        assert found == SoftmaxCrossEntropy()(scores[1:], np.array([1, 1, 1]))[0]
