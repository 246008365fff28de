"""Balanced and weighted sampling: chances, and what is refused."""

import numpy as np
import pytest

from fastconv.data import DataLoader, arrays
from fastconv.data._order import drawn
from fastconv.errors import ArgumentError


@pytest.fixture
def dataset():
    """A thousand images that hold their number, of three classes of which one is rare."""
    numbers = np.arange(1000)
    images = np.stack([numbers // 256, numbers % 256], 1).astype(np.uint8).reshape(1000, 1, 1, 2)
    labels = np.where(numbers < 20, 0, np.where(numbers < 300, 1, 2))
    return arrays(images, labels, mean=(0, 0), std=(1 / 255, 1 / 255))


def shown(loader, epoch=0):
    """The numbers of the images of an epoch, and their labels."""
    loader.set_epoch(epoch)
    batches = [(np.array(x).reshape(-1, 2) @ (256, 1), np.array(y)) for x, y in loader]
    numbers, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return np.rint(numbers).astype(int), labels


def test_balanced_shows_each_class_as_often(backend, dataset):
    numbers, labels = shown(DataLoader(dataset, 128, sampling="balanced"))
    assert len(numbers) == 1000
    np.testing.assert_array_equal(labels, dataset.labels[numbers])
    assert np.abs(np.bincount(labels) - 1000 / 3).max() < 60  # four deviations
    assert len(set(numbers[labels == 0])) == 20
    assert len(set(numbers[labels == 2])) > 200


def test_weights_are_chances(backend, dataset):
    weights = np.zeros(1000)
    weights[[3, 500, 999]] = 1, 2, 7
    numbers, _ = shown(DataLoader(dataset, 100, sampling=weights))
    values, counts = np.unique(numbers, return_counts=True)
    assert values.tolist() == [3, 500, 999]
    assert np.abs(counts - (100, 200, 700)).max() < 60


def test_the_draw_depends_on_seed_and_epoch_alone(dataset):
    loader = DataLoader(dataset, 128, sampling="balanced", seed=1)
    first, second, again = (shown(loader, epoch)[0] for epoch in (0, 1, 0))
    assert (first == again).all()
    assert (first != second).any()
    assert (first != shown(DataLoader(dataset, 128, sampling="balanced", seed=2))[0]).any()


def test_rows_of_arrays_are_drawn_too(backend, rng):
    x, y = np.arange(6, dtype=np.float32)[:, None], np.array([0, 0, 0, 0, 1, 1])
    loader = DataLoader((x, y), 2, sampling=[0, 0, 1, 0, 0, 1])
    batches = [(np.array(x), np.array(y)) for x, y in loader]
    assert {float(value) for x, _ in batches for value in x[:, 0]} <= {2.0, 5.0}
    assert all((y == (x[:, 0] > 3)).all() for x, y in batches)


def test_what_has_no_weight_is_never_drawn(monkeypatch):
    """Not at the ends of the range of random words either."""
    weights = np.array([0.0, 0.1, 0.0, 0.2, 0.0])
    for word in (0, 2**64 - 1):

        class Words:
            def __init__(self, *_, **__):
                pass

            def random_raw(self, count, word=word):
                return np.full(count, word, np.uint64)

        monkeypatch.setattr(np.random, "Philox", Words)
        assert set(drawn(weights, 0, 0)) == ({1} if word == 0 else {3})


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ("even", r"sampling: got 'even' for labels int32 \(1000,\); allowed: None, a weight for each sample, or 'bal"),
        ([1.0] * 999, "sampling: got .*; allowed: 1000 finite weights, 0 or above"),
        (np.full(1000, -1.0), "allowed: 1000 finite weights"),
        (np.full(1000, np.nan), "allowed: 1000 finite weights"),
        (["a"] * 1000, "allowed: 1000 finite weights"),
        (["1"] * 1000, "allowed: 1000 finite weights"),
        (
            np.full(1000, 1e306),
            r"got array\(\[1.e\+306.* allowed: 1000 finite weights, 0 or above, whose sum is finite",
        ),
        ([[1.0], [1.0, 2.0]], "allowed: 1000 finite weights"),
        (3.0, "allowed: 1000 finite weights"),
        (np.zeros(1000), "sampling: got weights that are all 0; allowed: at least one above"),
    ],
)
def test_other_samplings_are_refused(dataset, sampling, words):
    with pytest.raises(ArgumentError, match=words):
        DataLoader(dataset, sampling=sampling)


def test_what_was_given_is_shown_in_one_line(dataset):
    with pytest.raises(ArgumentError) as caught:
        DataLoader(dataset, sampling=np.ones((1000, 1)))
    assert "\n" not in str(caught.value)


def test_sampling_needs_an_order_that_is_drawn(dataset):
    with pytest.raises(ArgumentError, match="sampling: got it with shuffle=False; allowed: with shuffle=True"):
        DataLoader(dataset, sampling="balanced", shuffle=False)
    with pytest.raises(ArgumentError, match="got 'balanced' for labels float64"):
        DataLoader((np.zeros((4, 1)), np.zeros(4)), sampling="balanced")


def test_no_images_are_no_batches(dataset):
    assert list(DataLoader(dataset.take(slice(0)), sampling="balanced")) == []
