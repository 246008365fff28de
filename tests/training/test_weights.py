"""Weights of samples and classes in training and evaluation, and what is kept for validation."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.data import DataLoader
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.losses import LOSSES, SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.training.weights import class_table, split_off
from tests.backends.emulator.emulated import emulator_or_skip
from tests.training.trainers import assert_same_bits, count_calls, weights


def model_of(dtype=np.float64, seed=2):
    return nn.Sequential(nn.Dense(6), nn.Tanh(), nn.Dense(3)).build((5,), dtype, seed)


def trainer_of(loss=None, dtype=np.float64, lr=0.3, **keywords):
    model = model_of(dtype)
    return fc.Trainer(model, loss or SoftmaxCrossEntropy(), SGD(model.parameters(), lr), seed=1, **keywords)


def data_of(rng, rows=24, dtype=np.float64):
    x, y = rng.standard_normal((rows, 5)).astype(dtype), rng.integers(0, 3, rows).astype(np.int32)
    return x, y, rng.uniform(0.1, 3, rows)


def gradients(trainer):
    return {p.name: np.array(fc.to_numpy(p.grad)) for p in trainer.model.parameters()}


def assert_close(a, b, rtol=1e-10):
    for name, value in b.items():
        np.testing.assert_allclose(a[name], value, rtol=rtol, atol=1e-12, err_msg=name)


@pytest.mark.float64
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_of_weight_two_counts_as_two(name, reduction, accumulate, backend, rng):
    loss = LOSSES[name](reduction=reduction)
    counts = np.array([1, 2, 3, 1, 2, 1, 1, 3])
    x = rng.standard_normal((8, 5))
    y = rng.integers(0, 3, 8).astype(np.int32) if loss.function.over == "rows" else rng.uniform(0, 1, (8, 3))
    weighted, repeated = trainer_of(loss, accumulate=accumulate), trainer_of(loss)
    one = weighted.train_step(fc.asarray(x), fc.asarray(y), fc.asarray(counts.astype(np.float64)))
    two = repeated.train_step(fc.asarray(np.repeat(x, counts, 0)), fc.asarray(np.repeat(y, counts, 0)))
    np.testing.assert_allclose(float(one), float(two), rtol=1e-12)
    assert_close(gradients(weighted), gradients(repeated))


@pytest.mark.parametrize("given", [{1: 3.0}, {0: 0.5, 1: 3, 2: 1.0}, [0.5, 3, 1.0], np.array([2.0, 3.0, 0.0])])
def test_class_weights_are_those_of_the_loss(given, backend, rng):
    x, y, _ = data_of(rng)
    table = [given.get(k, 1.0) for k in range(3)] if isinstance(given, dict) else given
    ours, theirs = trainer_of(), trainer_of(SoftmaxCrossEntropy(class_weight=table))
    ours.fit((x, y), 2, batch_size=8, shuffle=False, class_weight=given)
    theirs.fit((x, y), 2, batch_size=8, shuffle=False)
    assert_close(weights(ours.model), weights(theirs.model))


@pytest.mark.parametrize("name", ["class_weight", "sample_weight"])
def test_lists_of_unequal_lengths_are_refused(name):
    with pytest.raises(
        ArgumentError, match=rf"{name}: got \[\[1\], \[2, 3\], \[3\]\] .*; allowed: numbers, in an array"
    ):
        trainer_of().fit((np.zeros((3, 8)), np.zeros(3, int)), 1, **{name: [[1], [2, 3], [3]]})


def test_both_multiply(backend, rng):
    x, y, w = data_of(rng)
    both, product = trainer_of(), trainer_of()
    table = np.array([0.5, 2.0, 1.0])
    both.fit((x, y), 2, batch_size=7, shuffle=False, class_weight=table, sample_weight=w)
    product.fit((x, y), 2, batch_size=7, shuffle=False, sample_weight=w * table[y])
    assert_close(weights(both.model), weights(product.model))


@pytest.mark.parametrize("shuffle", [False, True])
def test_ways_to_bring_them(backend, shuffle, rng):
    """As an argument, as the third of arrays, from a loader, from batches of one's own: the same bits."""
    x, y, w = data_of(rng)
    found = []
    for way in ("argument", "triple", "loader"):
        trainer = trainer_of()
        if way == "argument":
            trainer.fit((x, y), 2, batch_size=7, shuffle=shuffle, sample_weight=w)
        elif way == "triple":
            trainer.fit((x, y, w), 2, batch_size=7, shuffle=shuffle)
        else:
            trainer.fit(DataLoader((x, y, w), 7, shuffle=shuffle, seed=1), 2)
        found.append((weights(trainer.model), trainer.history.history["loss"]))
    if not shuffle:
        trainer = trainer_of()
        trainer.fit([(x[i : i + 7], y[i : i + 7], w[i : i + 7]) for i in range(0, 24, 7)], 2)
        found.append((weights(trainer.model), trainer.history.history["loss"]))
    for got in found[1:]:
        assert_same_bits(got[0], found[0][0])
        assert got[1] == found[0][1]


def test_a_loader_of_images_brings_them(backend, rng):
    images, y, w = rng.integers(0, 256, (9, 4, 4, 3)).astype(np.uint8), np.arange(9), rng.uniform(0, 1, 9)
    loader = DataLoader((images, y, w), 4, seed=3)
    seen = [(fc.to_numpy(labels), fc.to_numpy(weight)) for _, labels, weight in loader]
    assert [len(labels) for labels, _ in seen] == [4, 4, 1]
    for labels, weight in seen:
        np.testing.assert_array_equal(weight, w[labels])


@pytest.mark.parametrize("backend", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_captured_and_replayed(backend, rng, monkeypatch):
    if backend == "cuda-emulator":
        emulator_or_skip()
    with fc.use_backend(backend):
        x, y, w = data_of(rng, 16, np.float32)
        x, y, results = fc.asarray(x), fc.asarray(y), []
        for capture in (False, True):
            trainer = trainer_of(dtype=np.float32, capture=capture)
            with monkeypatch.context() as patch:
                calls = count_calls(patch, nn.Sequential, "forward")
                trainer.fit((x, y), 2, batch_size=4, sample_weight=w, class_weight={2: 4.0})
            assert len(calls) == (1 if capture else 8)
            results.append((weights(trainer.model), trainer.history.history["loss"]))
        assert trainer._captured.works
        assert_same_bits(results[0][0], results[1][0])
        assert results[0][1] == results[1][1]


def test_with_and_without_are_captured_anew(rng):
    with fc.use_backend("numba"):
        x, y, w = (fc.asarray(a) for a in data_of(rng))
        results = []
        for capture in (False, True):
            trainer = trainer_of(capture=capture)
            losses = [float(trainer.train_step(x, y, *rest)) for rest in ((), (), (w,), (w,), (w,), (), ())]
            results.append((losses, weights(trainer.model)))
        assert results[0][0] == results[1][0]
        assert_same_bits(results[0][1], results[1][1])


def test_evaluation_is_weighted_but_its_metrics_are_not(backend, rng):
    x, y, w = data_of(rng)
    trainer = trainer_of()
    got = trainer.evaluate((x, y, w), batch_size=7)
    logits = fc.to_numpy(trainer.model(fc.asarray(x)))
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(24), y]
    np.testing.assert_allclose(got["loss"], (w * losses).sum() / w.sum(), rtol=1e-12)
    assert got["accuracy"] == trainer.evaluate((x, y), batch_size=7)["accuracy"]
    summed = trainer_of(SoftmaxCrossEntropy(reduction="sum")).evaluate((x, y, w), batch_size=7)
    np.testing.assert_allclose(summed["loss"], got["loss"], rtol=1e-12)


def test_history_is_weighted(backend, rng):
    x, y, w = data_of(rng)
    trainer = trainer_of(lr=0.0)
    history = trainer.fit((x, y), 1, (x, y, w), batch_size=7, sample_weight=w).history
    np.testing.assert_allclose(history["loss"], history["val_loss"], rtol=1e-12)
    assert trainer.evaluate((x, y))["loss"] != pytest.approx(history["loss"][0])


def test_class_weights_are_for_training_alone(backend, rng):
    x, y, _ = data_of(rng)
    trainer = trainer_of(lr=0.0)
    history = trainer.fit((x, y), 1, (x, y), class_weight={0: 100.0}).history
    assert history["val_loss"][0] == pytest.approx(trainer.evaluate((x, y))["loss"])
    assert history["loss"][0] != pytest.approx(history["val_loss"][0])
    trainer.train_step(fc.asarray(x), fc.asarray(y))
    assert trainer._classes is None


def test_a_batch_whose_classes_count_nothing_is_said_to_be_one(rng):
    x = data_of(rng)[0]
    with fc.use_backend("numba"), pytest.raises(ArgumentError, match=r"nothing but 0 \(class_weight of fit, .*allowed"):
        trainer_of().fit((x, np.zeros(24, np.int32)), 1, class_weight={0: 0.0})


@pytest.mark.parametrize(("share", "kept"), [(0.25, 18), (0.5, 12), (0.1, 22), (0.01, None), (0.99, None)])
def test_the_last_rows_are_kept_for_validation(share, kept, rng):
    x, y, w = data_of(rng)
    if kept is None:
        with pytest.raises(
            ArgumentError, match=rf"validation_split: got {share} of 24 samples; allowed: what leaves one"
        ):
            split_off((x, y), share, None, of_arrays=True)
        return
    with fc.use_backend("numpy"):
        split, given = trainer_of(), trainer_of()
        split.fit((x, y), 2, batch_size=5, validation_split=share, sample_weight=w)
        given.fit((x[:kept], y[:kept], w[:kept]), 2, (x[kept:], y[kept:], w[kept:]), batch_size=5)
        assert_same_bits(weights(split.model), weights(given.model))
        names = ("loss", "val_loss", "val_accuracy")
        assert [split.history.history[k] for k in names] == [given.history.history[k] for k in names]


def test_own_losses_take_a_third_argument(backend, rng):
    x, y, w = data_of(rng)
    plain, seen = SoftmaxCrossEntropy(), []

    def own(predictions, targets, sample_weight=None):
        seen.append(sample_weight is not None)
        return plain(predictions, targets, sample_weight)

    one, other = trainer_of(own), trainer_of(plain)
    for trainer in (one, other):
        trainer.fit((x, y), 2, sample_weight=w, batch_size=8)
    assert_same_bits(weights(one.model), weights(other.model))
    assert all(seen)
    with pytest.raises(ArgumentError, match=r"sample_weight: got weights with .*which takes none"):
        trainer_of(lambda p, t: plain(p, t)).fit((x, y), 1, sample_weight=w)


REFUSED = {
    "too few": ({"sample_weight": np.ones(5)}, ShapeError, r"sample_weight: got shape \(5,\); allowed: \(24,\)"),
    "two axes": ({"sample_weight": np.ones((24, 1))}, ShapeError, "sample_weight: got shape"),
    "negative": ({"sample_weight": -np.ones(24)}, ArgumentError, "sample_weight: got -1.0 to -1.0; allowed: finite"),
    "not finite": ({"sample_weight": np.full(24, np.nan)}, ArgumentError, "sample_weight: got nan"),
    "strings": ({"sample_weight": np.array(["a"] * 24)}, DTypeError, "sample_weight: got <U1; allowed: numbers"),
    "an unknown class": ({"class_weight": {3: 1.0}}, ArgumentError, "class_weight: got class 3; allowed: .* 0 to 2"),
    "a class by name": (
        {"class_weight": {"cat": 1.0}},
        ArgumentError,
        "class 'cat'; allowed: .*, a list with one weight each",
    ),
    "a class of True": ({"class_weight": {True: 1.0}}, ArgumentError, "class_weight: got class True"),
    "no number": ({"class_weight": {1: "2"}}, ArgumentError, "class_weight: got '2' for class 1; allowed: a number"),
    "a huge class": ({"class_weight": {1: 10**400}}, ArgumentError, "class_weight: got .*; allowed: finite"),
    "a negative class": ({"class_weight": {1: -1.0}}, ArgumentError, "class_weight: got .*; allowed: finite"),
    "all classes 0": ({"class_weight": [0, 0, 0]}, ArgumentError, "class_weight: got .*; allowed: finite"),
    "too few classes": ({"class_weight": [1, 2]}, ArgumentError, "class_weight: got .*; allowed: 3 numbers"),
    "a word": ({"class_weight": "balanced"}, ArgumentError, "class_weight: got 'balanced'; allowed: 3 numbers"),
    "nothing": ({"validation_split": 0}, ArgumentError, "validation_split: got 0; allowed: a number between 0 and 1"),
    "everything": ({"validation_split": 1.0}, ArgumentError, "validation_split: got 1.0; allowed"),
    "much more": ({"validation_split": 10**400}, ArgumentError, "validation_split: got 10+; allowed: a number between"),
    "more": ({"validation_split": 1.5}, ArgumentError, "validation_split: got 1.5; allowed"),
    "a flag": ({"validation_split": True}, ArgumentError, "validation_split: got True; allowed"),
    "text": ({"validation_split": "0.1"}, ArgumentError, "validation_split: got '0.1'; allowed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name, rng):
    keywords, error, text = REFUSED[name]
    x, y, _ = data_of(rng)
    with fc.use_backend("numpy"):
        trainer = trainer_of()
        with pytest.raises(error, match=text):
            trainer.fit((x, y), 1, **keywords)
        assert trainer.step == 0
        trainer.fit((x, y), 1)


def test_refuses_what_does_not_go_together(rng):
    x, y, w = data_of(rng)
    loader = DataLoader((x, y), 8)
    with fc.use_backend("numpy"):
        trainer = trainer_of()
        with pytest.raises(ArgumentError, match="validation_split: got it with validation_data"):
            trainer.fit((x, y), 1, (x, y), validation_split=0.1)
        with pytest.raises(ArgumentError, match=r"validation_split: got 0.1 with batches"):
            trainer.fit(loader, 1, validation_split=0.1)
        with pytest.raises(ArgumentError, match="sample_weight: got it with DataLoader"):
            trainer.fit(loader, 1, sample_weight=w)
        with pytest.raises(ArgumentError, match="sample_weight: got it with tuple"):
            trainer.fit((x, y, w), 1, sample_weight=w)
        with pytest.raises(ShapeError, match=r"weight: got float64 \(5,\); allowed: numbers \(24,\)"):
            DataLoader((x, y, w[:5]))
        with pytest.raises(ShapeError, match=r"sample_weight: got shape \(5,\); allowed: \(24,\)"):
            trainer.train_step(x, y, w[:5])
        soft = rng.dirichlet(np.ones(3), 24)
        with pytest.raises(
            ArgumentError, match=r"class_weight: got it with targets float64 \(24, 3\); allowed: with class"
        ):
            trainer.fit((x, soft), 1, class_weight=[1, 1, 2])


def test_class_table_is_of_the_model():
    with fc.use_backend("numpy"):
        table = class_table({2: 5}, model_of(np.float32))
        assert table.dtype == np.float32
        np.testing.assert_array_equal(table, [1, 1, 5])


@pytest.mark.peer
@pytest.mark.parametrize("case", range(30))
def test_same_as_pytorch(backend, case):
    """Weights of classes, and of samples times them, over a few steps of SGD."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case)
    x, y, w = data_of(rng, int(rng.integers(3, 30)))
    table, samples = rng.uniform(0.1, 4, 3), case % 2 == 0
    trainer = trainer_of()
    peers = [torch.nn.Parameter(torch.tensor(np.array(fc.to_numpy(p.data)))) for p in trainer.model.parameters()]
    optimizer = torch.optim.SGD(peers, 0.3)
    given = {"sample_weight": w} if samples else {}
    trainer.fit((x, y), 3, batch_size=len(x), shuffle=False, class_weight=table, **given)
    for _ in range(3):
        optimizer.zero_grad()
        w1, b1, w2, b2 = peers
        out = torch.tanh(torch.tensor(x) @ w1 + b1) @ w2 + b2
        if samples:
            each = torch.tensor(w * table[y])
            losses = torch.nn.functional.cross_entropy(out, torch.tensor(y).long(), reduction="none")
            ((losses * each).sum() / each.sum()).backward()
        else:
            torch.nn.functional.cross_entropy(out, torch.tensor(y).long(), torch.tensor(table)).backward()
        optimizer.step()
    for p, peer in zip(trainer.model.parameters(), peers, strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.data), peer.detach().numpy(), rtol=1e-10, atol=1e-13)
