"""A set of labelled images: parts of it, and what it refuses."""

import dataclasses
import math

import numpy as np
import pytest

from fastconv.data import Dataset, FlipCrop, shapes10
from fastconv.errors import ArgumentError, DataError


@pytest.fixture
def dataset():
    return shapes10(size=50)


def test_take_keeps_images_and_labels_together(dataset):
    part = dataset.take(np.array([7, 3, 3]))
    np.testing.assert_array_equal(part.images, dataset.images[[7, 3, 3]])
    assert part.labels.tolist() == [7, 3, 3]
    assert (part.name, part.class_names, part.mean, part.std) == (
        *(dataset.name, dataset.class_names),
        *(dataset.mean, dataset.std),
    )


def test_take_of_a_slice_copies_nothing(dataset):
    assert np.shares_memory(dataset.take(slice(5, 9)).images, dataset.images)


@pytest.mark.parametrize(
    ("indices", "places"),
    [([0, 1], [0, 1]), ((-1, 2), [49, 2]), ([], []), (np.arange(50) % 25 == 3, [3, 28]), (slice(-2, None), [48, 49])],
)
def test_take_of_lists_and_truths(dataset, indices, places):
    part = dataset.take(indices)
    np.testing.assert_array_equal(part.images, dataset.images[np.array(places, int)])
    np.testing.assert_array_equal(part.labels, dataset.labels[np.array(places, int)])


@pytest.mark.parametrize(
    "indices",
    [3, None, "3", [50], [-51], [0.5], [[1, 2]], [[1], [2, 3]], [True, False], slice(0.5), np.ma.array([1], mask=[1])],
)
def test_take_refuses_what_are_no_places(dataset, indices):
    words = r"^indices: got .*; allowed: a slice, .*from -50 to 49, the places of images in shapes10/train$"
    with pytest.raises(ArgumentError, match=words):
        dataset.take(indices)


def test_a_data_set_is_printed_in_a_line(dataset):
    assert repr(dataset) == (
        "Dataset('shapes10/train', 50 x (32, 32, 3) uint8, 10 classes: circle, ring, square, triangle, cross, star,"
        " crescent, heart, pill, stripes)"
    )
    names = tuple(map(str, range(100)))
    shown = repr(dataclasses.replace(dataset, class_names=names))
    assert shown.endswith("100 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)")


def test_data_sets_are_the_same_where_they_are_one(dataset):
    assert dataset == dataset
    assert dataset != dataset.take(slice(None))
    assert len({dataset, dataset}) == 1


@pytest.mark.parametrize("count", [0, 1, 12, 50])
def test_split_draws_from_its_seed_and_keeps_the_order(dataset, count):
    parts = dataset.split(count, seed=3)
    assert [len(part) for part in parts] == [50 - count, count]
    places = [
        [i for i in range(50) if (dataset.images[i] == part.images[:, None]).all((2, 3, 4)).any()] for part in parts
    ]
    for part, place in zip(parts, places, strict=True):
        np.testing.assert_array_equal(part.images, dataset.images[place])
        np.testing.assert_array_equal(part.labels, dataset.labels[place])
    assert sorted(places[0] + places[1]) == list(range(50))
    np.testing.assert_array_equal(parts[1].images, dataset.split(count, seed=3)[1].images)
    if count == 12:
        assert (parts[1].images != dataset.split(count, seed=4)[1].images).any()
        np.testing.assert_array_equal(dataset.split(count)[1].images, dataset.split(count, seed=0)[1].images)


@pytest.mark.parametrize("count", [-1, 51, 1.5, "3", None, True, np.array([3])])
def test_split_refuses_other_counts(dataset, count):
    with pytest.raises(DataError, match=r"^count: got .*; allowed: 0 to 50"):
        dataset.split(count)


def test_arguments_of_other_libraries_are_told(dataset):
    with pytest.raises(ArgumentError, match=r"test_size: got it for Dataset.split, .*\(count, a number of images\)"):
        dataset.split(test_size=0.2)
    with pytest.raises(
        ArgumentError, match=r"count: got it for Dataset.take, .*\(indices, as in take\(slice\(count\)\)\)"
    ):
        dataset.take(count=3)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"images": [[1]]}, "images"),
        ({"labels": [0] * 50}, "labels"),
        ({"mean": (0.0, math.inf, 0.0)}, "mean, std"),
        ({"mean": (math.nan,) * 3}, "mean, std"),
        ({"std": (1.0, -1.0, 1.0)}, "mean, std"),
        ({"std": (math.nan,) * 3}, "mean, std"),
        ({"std": (1.0, 1.0, math.nan)}, "mean, std"),
        ({"std": (1.0, math.inf, 1.0)}, "mean, std"),
        ({"mean": (127.0,) * 3}, "mean"),
        ({"std": (64.0,) * 3}, "std"),
        ({"mean": 0.5}, "mean, std"),
        ({"std": None}, "mean, std"),
        ({"std": ("a", "b", "c")}, "mean, std"),
        ({"class_names": "abcdefghij"}, "class_names"),
        ({"class_names": 10}, "class_names"),
        ({"class_names": set("abcdefghij")}, "class_names"),
        ({"class_names": {name: number for number, name in enumerate("jihgfedcba")}}, "class_names"),
        ({"class_names": tuple(range(10))}, "class_names"),
    ],
)
def test_dataset_rejects_what_is_no_array_or_not_finite(dataset, change, name):
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Dataset)} | change
    with pytest.raises(DataError, match=f"^{name}: got .*allowed: "):
        Dataset(**fields)


def test_names_in_any_form_are_a_tuple(dataset):
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Dataset)}
    for names in (list(dataset.class_names), np.array(dataset.class_names), iter(dataset.class_names)):
        assert Dataset(**fields | {"class_names": names}).class_names == tuple(dataset.class_names)


@pytest.mark.parametrize("pad", [1.5, "4", None])
def test_augmentation_rejects_a_bad_padding(pad):
    with pytest.raises(ArgumentError, match=r"^pad: got .*; allowed: "):
        FlipCrop(pad=pad)


def test_augmentation_is_the_usual_one_by_default():
    assert FlipCrop() == FlipCrop(flip=True, pad=4)


@pytest.mark.parametrize(
    ("counts", "count", "held_out"),
    [
        ((50, 30, 20), 10, (5, 3, 2)),
        ((50, 30, 20), 0, (0, 0, 0)),
        ((50, 30, 20), 100, (50, 30, 20)),
        ((5, 3, 1), 4, (2, 1, 1)),  # 2.2, 1.3 and 0.4 images
        ((3, 3, 0), 3, (2, 1, 0)),  # 1.5 each: the first of them
    ],
)
def test_split_can_keep_the_shares_of_classes(counts, count, held_out):
    labels = np.repeat(np.arange(3), counts)[np.random.default_rng(0).permutation(sum(counts))]
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = Dataset("mine", images, labels.astype(np.int32), ("a", "b", "c"), (0.0,), (1.0,))
    rest, held = data.split(count, seed=1, stratified=True)
    assert np.bincount(held.labels, minlength=3).tolist() == list(held_out)
    assert sorted([*rest.images.ravel(), *held.images.ravel()]) == list(range(len(labels)))
    assert (np.diff(held.images.ravel().astype(int)) > 0).all()
    if count == 10:
        assert held.images.tolist() != data.split(count, seed=2, stratified=True)[1].images.tolist()
