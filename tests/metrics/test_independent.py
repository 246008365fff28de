"""Metrics on random problems against code that loops over rows, as their definitions read."""

import numpy as np
import pytest

from fastconv import metrics


def by_rows(x, y, k):
    """Count, row by row: top-k hits, confusions."""
    classes = x.shape[1]
    matrix, hits = [[0] * classes for _ in range(classes)], 0
    for row, label in zip(x.tolist(), y.tolist(), strict=True):
        ranked = sorted(range(classes), key=lambda c, row=row: (-row[c], c))
        matrix[label][ranked[0]] += 1
        hits += label in ranked[:k]
    return hits / len(x), matrix


@pytest.mark.parametrize("seed", range(20))
def test_classes(backend, seed):
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(1, 60)), int(rng.integers(2, 12))
    x, y, k = np.round(rng.standard_normal((n, classes)), 1), rng.integers(0, classes, n), int(rng.integers(1, classes))
    share, matrix = by_rows(x, y, k)
    assert metrics.TopKAccuracy(k)(x, y) == share
    assert metrics.Accuracy()(x, y) == by_rows(x, y, 1)[0]
    assert metrics.ConfusionMatrix()(x, y).tolist() == matrix
    f1 = []
    for c in range(classes):
        found, predicted, there = matrix[c][c], sum(row[c] for row in matrix), sum(matrix[c])
        precision, recall = found / predicted if predicted else 0, found / there if there else 0
        assert metrics.Precision(None)(x, y)[c] == pytest.approx(precision)
        assert metrics.Recall(None)(x, y)[c] == pytest.approx(recall)
        f1 += [2 * precision * recall / (precision + recall) if found else 0] if predicted or there else []
    assert metrics.F1()(x, y) == pytest.approx(sum(f1) / len(f1))


@pytest.mark.parametrize("seed", range(20))
def test_errors(backend, seed):
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(2, 60)), int(rng.integers(1, 9))
    t = rng.uniform(-100, 100) + rng.standard_normal((n, width))
    x = t + rng.standard_normal((n, width))
    errors = [a - b for p, q in zip(x.tolist(), t.tolist(), strict=True) for a, b in zip(p, q, strict=True)]
    assert metrics.MeanBiasError()(x, t) == pytest.approx(sum(errors) / len(errors), abs=1e-12)
    assert metrics.MeanAbsoluteError()(x, t) == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-12)
    around = ((t - t.mean(0)) ** 2).sum(0)
    assert metrics.R2Score()(x, t) == pytest.approx(np.mean(1 - ((x - t) ** 2).sum(0) / around), rel=1e-10)
