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
        totals.add(fc.asarray(np.array(1.0)), fc.asarray(x[a:b]), fc.asarray(y[a:b]), float(b - a))
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


WEIGHING = [
    losses.SoftmaxCrossEntropy(ignore_index=-1),
    losses.SoftmaxCrossEntropy(class_weight=[1.0, 9.0, 1.0]),
    losses.SoftmaxCrossEntropy(0.1, class_weight=[1.0, 0.0, 3.0], ignore_index=7),
    losses.MulticlassHinge(ignore_index=-1),
    losses.SquaredHinge(class_weight=[2.0, 1.0, 0.5]),
    losses.SoftmaxCrossEntropy(),
]


def _training(loss, **keywords):
    model = nn.Sequential(nn.Dense(3)).build((4,), np.float64, seed=0)
    return fc.Trainer(model, loss, SGD(model.parameters(), 0.0), **keywords)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", WEIGHING, ids=repr)
@pytest.mark.parametrize("backend_name", ["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_the_loss_does_not_depend_on_how_data_are_cut(backend_name, loss, weighted, rng):
    """Where rows are ignored or classes have weights, batches count what their means divide by."""
    x, y = rng.standard_normal((24, 4)), rng.integers(0, 3, 24)
    if loss.ignore_index is not None:
        y[rng.random(24) < 0.4] = loss.ignore_index
    weight = (rng.random(24) + 0.5,) if weighted else ()
    with fc.use_backend(backend_name):
        data = tuple(map(fc.asarray, (x, y, *weight)))
        trainer = _training(loss)
        whole = float(losses.loss_and_grad(loss, trainer.model(data[0]), *data[1:])[0])
        for size in (24, 12, 7, 5):
            assert trainer.evaluate(data, batch_size=size)["loss"] == pytest.approx(whole, rel=1e-12)
        history = trainer.fit(data, 1, data, batch_size=12, shuffle=False)  # with a rate of 0
        for name in ("loss", "val_loss"):
            assert history.history[name] == [pytest.approx(whole, rel=1e-12)]


def test_batches_of_which_nothing_counts_have_no_loss(rng):
    x, y = rng.standard_normal((12, 4)), np.array([-1] * 6 + [0, 1, 2] * 2)
    with fc.use_backend("numba"):
        trainer = _training(losses.SoftmaxCrossEntropy(ignore_index=-1))
        want = float(trainer.loss(trainer.model(x[6:]), y[6:])[0])
        assert trainer.evaluate((x, y), batch_size=6)["loss"] == pytest.approx(want, rel=1e-12)
        assert np.isnan(trainer.evaluate((x[:6], y[:6]))["loss"])
        of_classes = _training(losses.SoftmaxCrossEntropy(class_weight=[0.0, 0.0, 1.0]))
        assert np.isnan(of_classes.evaluate((x, np.zeros(12, int)))["loss"])
        weights = np.array([0.0] * 6 + [1.0] * 6)
        plain = _training(losses.SoftmaxCrossEntropy())
        want = float(plain.loss(plain.model(x[6:]), y[6:])[0])
        assert plain.evaluate((x, np.abs(y), weights), batch_size=6)["loss"] == pytest.approx(want, rel=1e-12)


def test_a_validation_of_nothing_is_never_the_best(rng, tmp_path):
    x, y = rng.standard_normal((12, 4)), rng.integers(0, 3, 12)
    with fc.use_backend("numba"):
        kept = fc.training.ModelCheckpoint(tmp_path, monitor="val_loss")
        trainer = _training(losses.SoftmaxCrossEntropy(class_weight=[0.0, 0.0, 1.0]), callbacks=kept)
        history = trainer.fit((x, y), 1, (x, np.zeros(12, int)), batch_size=12)
        assert np.isnan(history.history["val_loss"]).all()
        assert not kept.best_path.exists()


def test_a_step_in_which_nothing_counts_is_refused():
    loss = losses.MulticlassHinge(class_weight=[0.0, 0.0, 1.0])
    with pytest.raises(ArgumentError, match="labels: got classes whose class_weight is 0 in all 2 rows; allowed: "):
        loss(np.zeros((2, 3)), np.array([0, 1]))
    assert (
        float(
            losses.MulticlassHinge(class_weight=[0.0, 0.0, 1.0], reduction="sum")(np.zeros((2, 3)), np.array([0, 1]))[0]
        )
        == 0
    )
