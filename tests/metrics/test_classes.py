"""Metrics of classes: a matrix worked out by hand, averages, what is left out, bad input."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import metrics
from fastconv.errors import ArgumentError

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


def test_refuses_settings():
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
