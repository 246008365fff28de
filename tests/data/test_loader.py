"""Batches: their order, their values, and what a seed decides."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from fastconv import to_numpy
from fastconv.backends import use_backend
from fastconv.data import Crop, DataLoader, Dataset, Flip, FlipCrop, Mixup, arrays, shapes10
from fastconv.data._order import shuffled
from fastconv.errors import ArgumentError, DataError, DTypeError, ShapeError


@pytest.fixture
def dataset():
    return shapes10(size=50)


def epoch_of(loader, epoch):
    loader.set_epoch(epoch)
    return [(np.array(x), np.array(labels)) for x, labels in loader]


def test_loader_normalises_in_order(backend, dataset):
    batches = epoch_of(DataLoader(dataset, 16, shuffle=False), 0)
    assert [x.shape for x, _ in batches] == [(16, 32, 32, 3)] * 3 + [(2, 32, 32, 3)]
    x, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert (x.dtype, labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(labels, dataset.labels)
    np.testing.assert_allclose(x, (dataset.images / 255 - dataset.mean) / dataset.std, rtol=0, atol=1e-5)


@pytest.mark.float64
def test_loader_takes_normalisation_and_dtype(backend, dataset):
    loader = DataLoader(dataset, 50, shuffle=False, mean=(0, 0, 0), std=(1, 1, 0.5), dtype=np.float64)
    ((x, _),) = epoch_of(loader, 0)
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, dataset.images / 255 / (1, 1, 0.5), rtol=1e-14)


def test_loader_shuffles_each_epoch_anew_and_shows_every_image_once(backend, dataset):
    marked = dataclasses.replace(
        dataset, images=np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 1, 1, 3))
    )
    loader = DataLoader(marked, 16, mean=(0, 0, 0), std=(1, 1, 1))
    orders = [
        np.rint(np.concatenate([x[:, 0, 0, 0] for x, _ in epoch_of(loader, e)]) * 255).astype(int) for e in (0, 1, 0)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    assert orders[0].tolist() != orders[1].tolist()
    assert orders[0].tolist() != list(range(50))
    assert orders[0].tolist() == orders[2].tolist()
    labels = np.concatenate([labels for _, labels in epoch_of(loader, 0)])
    np.testing.assert_array_equal(labels, dataset.labels[orders[0]])


def test_loader_counts_epochs_by_itself(backend, dataset):
    loader = DataLoader(dataset, 50)
    first, second = (np.array(next(iter(loader))[0]) for _ in range(2))
    assert loader.epoch == 2
    np.testing.assert_array_equal(second, epoch_of(loader, 1)[0][0])
    assert (first != second).any()


def test_loader_lengths(dataset):
    assert (len(DataLoader(dataset, 16)), DataLoader(dataset, 16).num_samples) == (4, 50)
    assert (len(DataLoader(dataset, 16, drop_last=True)), DataLoader(dataset, 16, drop_last=True).num_samples) == (
        3,
        48,
    )
    assert len(DataLoader(dataset.take(slice(0)), 16)) == 0


def test_loader_drops_the_last_batch(backend, dataset):
    assert [len(x) for x, _ in epoch_of(DataLoader(dataset, 16, drop_last=True), 0)] == [16, 16, 16]


def test_loader_of_nothing_yields_nothing(backend, dataset):
    assert epoch_of(DataLoader(dataset.take(slice(0))), 0) == []


def test_loader_augmentation_only_mirrors_and_shifts(backend, dataset):
    """Each result is one of the 2 * 81 pictures that padding, cropping and mirroring can make; most of them differ."""
    ((x, _),) = epoch_of(
        DataLoader(dataset, 50, shuffle=False, augmentation=FlipCrop(), mean=(0,) * 3, std=(1,) * 3), 0
    )
    pixels = np.rint(x * 255).astype(np.uint8)
    seen = set()
    for image, result in zip(dataset.images, pixels, strict=True):
        options = {}
        for mirrored in (False, True):
            padded = np.pad(image[:, ::-1] if mirrored else image, ((4, 4), (4, 4), (0, 0)))
            for dy in range(9):
                for dx in range(9):
                    options[padded[dy : dy + 32, dx : dx + 32].tobytes()] = mirrored, dy, dx
        assert result.tobytes() in options
        seen.add(options[result.tobytes()])
    assert len(seen) > 35
    assert {mirrored for mirrored, _, _ in seen} == {False, True}


def test_loader_seed_decides_the_augmentation(backend, dataset):
    same, other = (
        epoch_of(DataLoader(dataset, 50, shuffle=False, augmentation=FlipCrop(), seed=seed), 3)[0][0] for seed in (1, 2)
    )
    again = DataLoader(dataset, 50, shuffle=False, augmentation=FlipCrop(), seed=1)
    np.testing.assert_array_equal(same, epoch_of(again, 3)[0][0])
    assert (same != other).any()
    assert (same != epoch_of(again, 4)[0][0]).any()


def test_loader_follows_the_active_backend(dataset):
    pytest.importorskip("fastconv.backends.cpu.backend")
    loader = DataLoader(dataset, 20, augmentation=FlipCrop(), seed=5)
    results = {}
    for name in ("numpy", "numba", "numpy"):
        with use_backend(name):
            results[name] = epoch_of(loader, 2)
    for (x, labels), (y, other) in zip(results["numpy"], results["numba"], strict=True):
        np.testing.assert_array_equal(labels, other)
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"batch_size": 1.5}, ArgumentError, "batch_size"),
        ({"mean": (0.5,)}, ArgumentError, "mean"),
        ({"std": (1, 1, 0)}, ArgumentError, "std"),
        ({"std": (1, np.nan, 1)}, ArgumentError, "std"),
        ({"std": (np.inf, 1, 1)}, ArgumentError, "std"),
        ({"mean": (0, 0, np.nan)}, ArgumentError, "mean"),
        ({"mean": 0.5}, ArgumentError, "mean"),
        ({"mean": "010"}, ArgumentError, "mean"),
        ({"std": ("a", "b", "c")}, ArgumentError, "std"),
        ({"mean": (127,) * 3, "std": (64,) * 3}, ArgumentError, "mean"),
        ({"mean": (-0.1, 0, 0)}, ArgumentError, "mean"),
        ({"std": (1, 1.5, 1)}, ArgumentError, "std"),
        ({"shuffle": "no"}, ArgumentError, "shuffle"),
        ({"drop_last": 3}, ArgumentError, "drop_last"),
        ({"augmentation": True}, ArgumentError, "augmentation"),
        ({"dtype": "number"}, DTypeError, "dtype"),
        ({"dtype": np.float16}, DTypeError, "dtype"),
        ({"seed": -1}, ArgumentError, "seed"),
    ],
)
def test_loader_rejects_bad_arguments(dataset, options, error, name):
    with pytest.raises(error, match=f"^{name}: got .*allowed: "):
        DataLoader(dataset, **options)


def test_loader_rejects_a_bad_epoch_and_a_bad_padding(dataset):
    with pytest.raises(ArgumentError, match=r"^epoch: got -1; allowed: "):
        DataLoader(dataset).set_epoch(-1)
    with pytest.raises(ArgumentError, match=r"^pad: got -1; allowed: "):
        FlipCrop(pad=-1)


def test_dataset_split_parts_are_disjoint_and_seeded(dataset):
    rest, held_out = dataset.split(12, seed=3)
    assert (len(rest), len(held_out)) == (38, 12)
    assert {image.tobytes() for part in (rest, held_out) for image in part.images} == {
        i.tobytes() for i in dataset.images
    }
    np.testing.assert_array_equal(held_out.images, dataset.split(12, seed=3)[1].images)
    assert (held_out.images != dataset.split(12, seed=4)[1].images).any()
    with pytest.raises(DataError, match=r"^count: got 51; allowed: 0 to 50"):
        dataset.split(51)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"images": np.zeros((50, 32, 32, 3), np.float32)}, "images"),
        ({"images": np.zeros((50, 3072), np.uint8)}, "images"),
        ({"labels": np.zeros(49, np.int32)}, "labels"),
        ({"labels": np.zeros(50, np.int64)}, "labels"),
        ({"labels": np.full(50, 10, np.int32)}, "labels"),
        ({"labels": np.full(50, -1, np.int32)}, "labels"),
        ({"mean": (0.0,)}, "mean, std"),
        ({"std": (0.0, 1.0, 1.0)}, "mean, std"),
    ],
)
def test_dataset_rejects_arrays_that_do_not_fit(dataset, change, name):
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(Dataset)} | change
    with pytest.raises(DataError, match=f"^{name}: got .*allowed: "):
        Dataset(**fields)


def test_loader_augments_each_batch_of_each_epoch_anew(backend, dataset):
    """The same image in every place: how it comes out tells the draw, which no two batches share."""
    same = dataset.take(np.zeros(60, np.int64))
    loader = DataLoader(same, 12, augmentation=FlipCrop(pad=8), mean=(0,) * 3, std=(1,) * 3, shuffle=False)
    draws = [x.tobytes() for epoch in range(3) for x, _ in epoch_of(loader, epoch)]
    assert len(set(draws)) == len(draws) == 15


ROWS = {
    "images of bytes": lambda rng: rng.integers(0, 256, (20, 5, 4, 3), dtype=np.uint8),
    "floating images": lambda rng: rng.standard_normal((20, 5, 4, 3)).astype(np.float32),
    "features": lambda rng: rng.standard_normal((20, 7)),
    "big-endian": lambda rng: rng.standard_normal((20, 5, 4, 3)).astype(">f4"),
    "strided": lambda rng: rng.standard_normal((40, 3, 4, 5)).astype(np.float32).transpose(0, 2, 3, 1)[::2],
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ROWS)
def test_loader_takes_pairs_of_arrays(backend, rng, kind, shuffle):
    x, y = ROWS[kind](rng), rng.standard_normal((20, 2))
    loader = DataLoader((x, y), 8, shuffle=shuffle, seed=4)
    order = shuffled(20, 4, 1) if shuffle else np.arange(20)
    got_x, got_y = (np.concatenate(parts) for parts in zip(*epoch_of(loader, 1), strict=True))
    want = (x / 255).astype(np.float32) if kind == "images of bytes" else x
    assert got_x.dtype.isnative
    assert got_x.dtype == (np.float64 if kind == "features" else np.float32)
    np.testing.assert_allclose(got_x, want[order], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(got_y, y[order])
    assert (len(loader), loader.num_samples) == (3, 20)
    assert [len(batch) for batch, _ in DataLoader([x, y], 8, drop_last=True)] == [8, 8]


def test_loader_normalises_floating_arrays(backend, rng):
    x, y = rng.normal(5, 3, (50, 4, 4, 2)), np.arange(50)
    loader = DataLoader((x, y), 50, shuffle=False, mean=(5, 4), std=(3, 2), dtype=np.float32)
    ((got, labels),) = epoch_of(loader, 0)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (x - (5, 4)) / (3, 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((4, 2, 2, 1)), ArgumentError, "dataset: got ndarray; allowed: a Dataset, or a pair of arrays"),
        ("cifar10", ArgumentError, "dataset: got str"),
        ((np.zeros((4, 2)),), ArgumentError, "dataset: got tuple"),
        (([[1.0]], np.zeros(1)), DTypeError, "x: got list"),
        ((np.zeros((1, 1)), [0]), DTypeError, "y: got list"),
        ((np.zeros((4, 2), int), np.zeros(4)), DTypeError, "x: got int64"),
        ((np.zeros((4, 2), np.float16), np.zeros(4)), DTypeError, "x: got float16"),
        ((np.zeros((4, 2), np.uint8), np.zeros(4)), ShapeError, r"x: got uint8 \(4, 2\)"),
        ((np.zeros((4, 2)), np.zeros(3)), ShapeError, r"y: got shape \(3,\)"),
        ((np.zeros(()), np.zeros(())), ShapeError, "y: got shape"),
        ((np.ma.zeros((4, 2)), np.zeros(4)), DTypeError, "x: got a masked array"),
    ],
)
def test_loader_refuses_what_is_no_data(data, error, message):
    with pytest.raises(error, match=f"^{message}"):
        DataLoader(data)


def test_loader_augments_images_only():
    pair = np.zeros((4, 8, 8, 3), np.float32), np.zeros(4, np.int32)
    with pytest.raises(ArgumentError, match=r"augmentation: got FlipCrop.* with x of float32"):
        DataLoader(pair, augmentation=FlipCrop())


@pytest.mark.parametrize("make", [lambda d: d, lambda d: ((d.images / 255).astype(np.float32), d.labels)])
def test_a_used_loader_is_copied_and_pickled(backend, dataset, make):
    loader = DataLoader(make(dataset), 16, seed=3)
    epoch_of(loader, 0)
    for twin in (pickle.loads(pickle.dumps(loader)), copy.deepcopy(loader)):
        assert twin.epoch == loader.epoch == 1
        for (x, y), (a, b) in zip(epoch_of(twin, 1), epoch_of(loader, 1), strict=True):
            np.testing.assert_array_equal(x, a)
            np.testing.assert_array_equal(y, b)
        loader.set_epoch(1)


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", [("label", "i4")]])
def test_targets_that_are_no_numbers_are_refused(dtype):
    # Gathered into memory that held something else, references to objects would end the process.
    with pytest.raises(DTypeError, match=r"y: got .*; allowed: numbers"):
        DataLoader((np.zeros((4, 2), np.float32), np.zeros(4, dtype)), 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "factor"), [("std", 0.1), ("mean", 10.0), ("std", 10.0)])
def test_numbers_that_the_type_cannot_hold_are_refused(dtype, name, factor):
    limit = np.finfo(dtype).smallest_normal if factor < 1 else np.finfo(dtype).max
    value = float(limit) * factor
    with pytest.raises(ArgumentError, match=f"{name}: got"):
        DataLoader(shapes10("test", size=4), 2, dtype=dtype, **{name: (value,) * 3})


@pytest.fixture
def mapped(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8))
    return arrays(tmp_path / "x.npy", np.arange(50) % 3)


@pytest.mark.parametrize("settings", [{}, {"augmentation": FlipCrop()}, {"drop_last": True}, {"sampling": "balanced"}])
def test_mapped_images_give_the_bits_of_images_in_memory(backend, mapped, settings):
    assert isinstance(mapped.images, np.memmap)
    here = dataclasses.replace(mapped, images=np.array(mapped.images))
    for epoch in (0, 1):
        batches = []
        for data in (mapped, here):
            loader = DataLoader(data, 16, seed=4, **settings)
            loader.set_epoch(epoch)
            batches.append([(np.array(x), np.array(y)) for x, y in loader])
        assert len(batches[0]) == len(batches[1])
        for (x, y), (x2, y2) in zip(*batches, strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


@pytest.mark.parametrize("shuffle", [False, True])
def test_mapped_rows_of_numbers_too(backend, tmp_path, rng, shuffle):
    x, y = rng.standard_normal((20, 3)), np.arange(20)
    np.save(tmp_path / "x.npy", x)
    mapped = DataLoader((np.load(tmp_path / "x.npy", mmap_mode="r"), y), 6, shuffle=shuffle)
    for (x1, y1), (x2, y2) in zip(mapped, DataLoader((x, y), 6, shuffle=shuffle), strict=True):
        np.testing.assert_array_equal(x1, x2)
        np.testing.assert_array_equal(y1, y2)


def test_parts_that_are_slices_stay_on_the_disk(mapped):
    assert isinstance(mapped.take(slice(3, 9)).images, np.memmap)
    assert not isinstance(mapped.take(np.array([3, 9])).images, np.memmap)


@pytest.mark.parametrize(
    "augmentation", [None, FlipCrop(), [Flip(), Crop(2), Mixup(0.4)]], ids=["plain", "flip", "mix"]
)
def test_parts_do_not_depend_on_which_of_them_are_made(backend, rng, augmentation):
    images, labels = rng.integers(0, 256, (13, 8, 8, 3), np.uint8), np.arange(13, dtype=np.int32) % 3
    data = Dataset("d", images, labels, ("a", "b", "c"), (0.5,) * 3, (0.2,) * 3)
    loader = DataLoader(data, 5, augmentation=augmentation, seed=4)

    def made(first, last):
        parted = loader.part(first, last, 4)
        parted.set_epoch(1)
        return [[tuple(np.array(array) for array in piece) for piece in pieces] for pieces in parted]

    together, apart = made(0, 4), [made(part, part + 1) for part in range(4)]
    assert len(together) == len(loader) == 3
    for number, pieces in enumerate(together):
        assert sum(len(piece[0]) for piece in pieces) == (5, 5, 3)[number]
        for part, piece in enumerate(pieces):
            for mine, other in zip(piece, apart[part][number][0], strict=True):
                np.testing.assert_array_equal(mine, other)
    assert loader.part(0, 1, 4) is not loader
    assert isinstance(next(iter(loader)), tuple)  # it is as it was


def test_parts_have_random_numbers_of_their_own(rng):
    images = np.tile(rng.integers(0, 256, (1, 8, 8, 1), np.uint8), (64, 1, 1, 1))
    data = Dataset("d", images, np.zeros(64, np.int32), ("a",), (0.5,), (0.2,))
    with use_backend("numpy"):
        first, second = next(iter(DataLoader(data, 64, augmentation=FlipCrop(), seed=4).part(0, 2, 2)))
    assert (np.array(first[0]) != np.array(second[0])).any()


@pytest.mark.parametrize("kind", ["images of bytes", "features"])
def test_a_size_that_is_set_within_an_epoch_is_of_the_next(rng, kind):
    loader = DataLoader((ROWS[kind](rng), np.arange(20)), 6)
    batches = iter(loader)
    seen = [next(batches)[1]]
    loader.batch_size, loader.drop_last = 8, True
    seen += [labels for _, labels in batches]
    assert [len(labels) for labels in seen] == [6, 6, 6, 2]
    assert sorted(np.concatenate(seen)) == list(range(20))
    assert [len(labels) for _, labels in loader] == [8, 8]


def test_it_computes_with_arithmetic_of_numpy(backend):
    """Not with that of a derived class, as of quantities with units, which may give something else."""

    class Quantity(np.ndarray):
        def __sub__(self, other):
            return 0 * np.asarray(self)

    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    ((got, _),) = DataLoader((x.view(Quantity), np.arange(4)), 4, shuffle=False, mean=(1, 2), std=(2, 4))
    np.testing.assert_array_equal(to_numpy(got), (x - [1, 2]) / [2, 4])
