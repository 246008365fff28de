"""Metrics of a trainer: summed over batches like over one, in the history, and what they share."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, metrics, nn
from fastconv.errors import ArgumentError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.training.totals import Totals

ALL = (
    *(metrics.Accuracy(), metrics.TopKAccuracy(2), metrics.ConfusionMatrix()),
    *(metrics.Precision(), metrics.Recall(None), metrics.F1("weighted")),
)
ERRORS = (metrics.MeanBiasError(), metrics.MeanAbsoluteError(), metrics.R2Score())


def _over_batches(found, x, y):
    """Measure in batches of 7, 1, 0 and the rest."""
    totals = Totals(fc.get_backend(), SoftmaxCrossEntropy(), found)
    for a, b in ((0, 7), (7, 8), (8, 8), (8, len(x))):
        totals.add(fc.asarray(np.array(1.0)), fc.asarray(x[a:b]), fc.asarray(y[a:b]))
    return totals.means()


@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_batches_add_up(backend_name, rng):
    x, y = rng.standard_normal((33, 5)), rng.integers(-1, 5, 33)
    t = 10 + rng.standard_normal((33, 5))
    with fc.use_backend(backend_name):
        means = _over_batches(ALL, x, y)
        assert list(means) == ["loss", *(metric.name for metric in ALL)]
        for metric in ALL:
            np.testing.assert_allclose(means[metric.name], metric(x, y), rtol=1e-14)
        means = _over_batches(ERRORS, x, t)
        for metric in ERRORS:
            assert means[metric.name] == pytest.approx(metric(x, t), rel=1e-12)


def test_equal_sums_are_made_once(rng, monkeypatch):
    with fc.use_backend("numba") as backend:
        calls = []
        monkeypatch.setattr(type(backend), "count_confusions", staticmethod(lambda *a, **o: calls.append(1)))
        _over_batches(ALL, rng.standard_normal((20, 5)), rng.integers(0, 5, 20))
    assert len(calls) == 4  # one for each batch, for four metrics


def _trainer(**keywords):
    model = nn.Sequential(nn.Dense(3)).build((4,), seed=0)
    return fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1), **keywords)


def test_history_has_numbers_and_evaluate_all(backend, rng):
    x, y = rng.standard_normal((20, 4)).astype(np.float32), rng.integers(0, 3, 20)
    found = (metrics.F1(), metrics.Recall(None), metrics.ConfusionMatrix())
    trainer = _trainer(metrics=found)
    history = trainer.fit((fc.asarray(x), fc.asarray(y)), 2, (fc.asarray(x), fc.asarray(y)), batch_size=8).history
    names = {"loss", "f1", "recall_0", "recall_1", "recall_2"}
    assert {*names, *(f"val_{name}" for name in names)} < set(history)
    assert not {"accuracy", "confusion_matrix"} & set(history)
    assert set(history) == set(trainer.quantities)
    results = trainer.evaluate((fc.asarray(x), fc.asarray(y)), batch_size=8)
    assert results["confusion_matrix"].sum() == 20
    assert results["f1"] == history["val_f1"][-1]
    np.testing.assert_array_equal(results["recall"], [history[f"val_recall_{k}"][-1] for k in range(3)])


def test_accuracy_where_there_are_classes_by_default(rng):
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    assert set(_trainer().evaluate((x, y))) == {"loss", "accuracy"}
    assert set(_trainer(metrics=()).evaluate((x, y))) == {"loss"}
    assert set(_trainer(metrics=metrics.TopKAccuracy(2)).evaluate((x, y))) == {"loss", "top2_accuracy"}


def test_a_summed_loss_is_shown_by_image(rng):
    x, t = rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal((9, 3)).astype(np.float32)
    model = nn.Sequential(nn.Dense(3)).build((4,), seed=0)
    for batch_size in (4, 9):
        values = [
            fc.Trainer(model, loss, SGD(model.parameters(), 0.1)).evaluate((x, t), batch_size=batch_size)["loss"]
            for loss in (losses.MeanSquaredError(reduction="sum"), losses.MeanSquaredError())
        ]
        assert values[0] == pytest.approx(3 * values[1], rel=1e-6)


def test_metrics_that_do_not_fit_the_targets_say_so(rng):
    x, y = rng.standard_normal((8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    with pytest.raises(ArgumentError, match=r"r2: got .* allowed: two arrays of one shape"):
        _trainer(metrics=[metrics.R2Score()]).evaluate((x, y))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("accuracy", r"metrics: got 'accuracy'; allowed: .*fastconv.metrics.Accuracy\(\)"),
        (["accuracy"], "metrics: got 'accuracy' among them"),
        (metrics.Accuracy, "metrics: got the class Accuracy; allowed"),
        ([metrics.F1(), metrics.F1(None)], "metrics: got two that are called 'f1'; allowed: each name once"),
    ],
)
def test_refuses(given, text):
    with pytest.raises(ArgumentError, match=text):
        _trainer(metrics=given)
