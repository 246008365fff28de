"""Metrics of classes: a matrix worked out by hand, averages, what is left out, bad input."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import metrics
from fastconv.errors import ArgumentError, DTypeError

LABELS = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
PREDICTED = [0, 0, 1, 2, 1, 0, 2, 2, 2, 1]
MATRIX = [[2, 1, 1, 0], [1, 1, 0, 0], [0, 1, 3, 0], [0, 0, 0, 0]]  # a fourth class that never occurs


def scores(predicted, classes=4):
    return np.eye(classes)[predicted] + 0.1 * np.arange(classes)


def measure(metric, predictions, targets):
    return metric(fc.asarray(np.array(predictions, float)), fc.asarray(np.array(targets)))


def test_by_hand(backend):
    x = scores(PREDICTED)
    np.testing.assert_array_equal(measure(metrics.ConfusionMatrix(), x, LABELS), MATRIX)
    assert measure(metrics.Accuracy(), x, LABELS) == 0.6
    precision, recall = [2 / 3, 1 / 3, 3 / 4, 0], [2 / 4, 1 / 2, 3 / 4, 0]
    f1 = [4 / 7, 2 / 5, 6 / 8, 0]
    for cls, each in ((metrics.Precision, precision), (metrics.Recall, recall), (metrics.F1, f1)):
        np.testing.assert_allclose(measure(cls(None), x, LABELS), each)
        assert measure(cls(), x, LABELS) == pytest.approx(sum(each) / 3)
        assert measure(cls("weighted"), x, LABELS) == pytest.approx(np.dot(each, [4, 2, 4, 0]) / 10)


def test_among_the_first(backend):
    """Scores 3, 2, 1, 0 of four classes: the place of each label is the label."""
    x, labels = np.tile([3.0, 2, 1, 0], (4, 1)), np.arange(4)
    for k in (1, 2, 3, 4):
        assert measure(metrics.TopKAccuracy(k), x, labels) == k / 4
    assert measure(metrics.TopKAccuracy(2), np.zeros((4, 4)), labels) == 0.5  # of equals the first


def test_other_labels_are_left_out(backend):
    x, labels = scores(PREDICTED), np.array(LABELS)
    labels[[1, 4, 8]] = -100
    kept = labels >= 0
    for metric in (metrics.Accuracy(), metrics.TopKAccuracy(2), metrics.F1(), metrics.ConfusionMatrix()):
        np.testing.assert_array_equal(measure(metric, x, labels), measure(metric, x[kept], labels[kept]))


def test_nothing_is_no_number(backend):
    for metric in (metrics.Accuracy(), metrics.Precision(), metrics.Recall("weighted")):
        assert math.isnan(measure(metric, np.zeros((0, 3)), np.zeros(0, int)))


@pytest.mark.parametrize(
    ("metric", "x", "y", "text"),
    [
        (
            metrics.Accuracy(),
            np.zeros((2, 3)),
            np.zeros((2, 3)),
            r"accuracy: got .*float64 \(2, 3\); .*numbers, \(N,\)",
        ),
        (metrics.F1(), np.zeros((2, 3)), np.zeros(2), r"f1: got predictions \(2, 3\) and targets float64 \(2,\)"),
        (metrics.F1(), np.zeros((2, 3)), np.zeros(3, int), r"f1: got .*int64 \(3,\)"),
        (metrics.ConfusionMatrix(), np.zeros((2, 3, 1)), np.zeros(2, int), "confusion_matrix: got .*scores"),
        (metrics.TopKAccuracy(), np.zeros((2, 3)), np.zeros(2, int), "top5_accuracy: got .* at least k = 5 classes"),
    ],
)
def test_refuses(backend, metric, x, y, text):
    with pytest.raises(ArgumentError, match=text):
        metric(fc.asarray(x), fc.asarray(y))


def test_of_no_classes_there_is_nothing(backend):
    for count in (0, 2):
        scores, labels = np.zeros((count, 0)), np.zeros(count, int)
        assert measure(metrics.ConfusionMatrix(), scores, labels).shape == (0, 0)
        assert math.isnan(measure(metrics.F1(), scores, labels))


def test_refuses_settings():
    with pytest.raises(ArgumentError, match=r"average: got array\(\[1, 2\]\); allowed: 'macro'"):
        metrics.F1(np.array([1, 2]))
    with pytest.raises(ArgumentError, match=r"y_true: got it for Accuracy.__call__, .*allowed: pred.* \(targets\)"):
        metrics.Accuracy()(y_true=np.zeros(2, int), y_pred=np.zeros((2, 3)))
    with pytest.raises(ArgumentError, match="average: got 'mean'; allowed: 'macro', 'weighted' or None"):
        metrics.F1("mean")
    with pytest.raises(ArgumentError, match="k: got 0; allowed: an int of at least 1"):
        metrics.TopKAccuracy(0)


def test_names():
    assert [repr(m) for m in (metrics.Accuracy(), metrics.TopKAccuracy(3), metrics.F1(None))] == [
        *("Accuracy()", "TopKAccuracy(k=3)", "F1(average=None)")
    ]
    assert metrics.F1(None).quantities(3) == ("f1_0", "f1_1", "f1_2")
    assert metrics.F1().quantities(3) == ("f1",)
    assert metrics.ConfusionMatrix().quantities(3) == ()


MEASURED = (
    *(metrics.Accuracy(), metrics.TopKAccuracy(2), metrics.ConfusionMatrix(), metrics.F1(), metrics.Recall()),
    *(metrics.Precision(), metrics.MeanAbsoluteError(), metrics.MeanBiasError(), metrics.R2Score()),
)


@pytest.mark.parametrize("metric", MEASURED, ids=repr)
def test_any_memory_is_read_as_it_is_meant(metric, backend, rng):
    """Of a batch by hand, too: bytes of another machine, views, columns first."""
    x = rng.standard_normal((40, 4)).astype(np.float32)
    errors = isinstance(metric.sums, type(metrics.R2Score().sums))
    y = rng.standard_normal(x.shape).astype(np.float32) if errors else rng.integers(0, 4, 40)
    want = metric(x, y)
    assert np.isfinite(want).all()
    for form in (lambda a: a.astype(a.dtype.newbyteorder()), np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]):
        np.testing.assert_array_equal(metric(form(x), form(y)), want)


@pytest.mark.parametrize("metric", MEASURED, ids=repr)
def test_what_is_no_array_of_numbers_is_refused(metric, backend, rng):
    x, y = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    if isinstance(metric.sums, type(metrics.R2Score().sums)):
        y = x
    for wrong in (x.astype(np.float16), x.astype(complex), x.tolist(), np.ma.masked_array(x, x > 0), None):
        with pytest.raises(DTypeError, match="predictions: got "):
            metric(wrong, y)
    for wrong in (y.tolist(), np.ma.masked_array(y, y > 0), None):
        with pytest.raises(DTypeError, match="targets: got "):
            metric(x, wrong)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint32])
def test_labels_beyond_int32_are_no_class(dtype, backend):
    x, labels = np.eye(3), np.array([0, 1, 2]).astype(dtype)
    assert metrics.Accuracy()(x, labels) == 1
    labels[1:] = 2**32 - 2 if dtype == np.uint32 else 2**32 + 1
    assert metrics.ConfusionMatrix()(x, labels).sum() == 1
