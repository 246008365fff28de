"""Augmentations together: their order, their batches from a loader, and the targets of images that are mixed."""

import dataclasses

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import use_backend
from fastconv.data import (
    Affine,
    ColorJitter,
    Crop,
    CutMix,
    Cutout,
    DataLoader,
    Flip,
    FlipCrop,
    Mixup,
    RandomErasing,
    Translate,
    shapes10,
)
from fastconv.errors import ArgumentError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.training.named import choices
from tests.backends.emulator.emulated import emulator_or_skip

ALL = (
    *(Flip("alternating"), Crop(2, "reflect"), Affine(20, (0.1, 0.1), (0.8, 1.2), 5)),
    *(ColorJitter(0.3, 0.3, 0.3, 0.1), RandomErasing(), Mixup(), CutMix()),
)
EACH = [*((part,) for part in ALL), (Translate(),), (Cutout(8),), (FlipCrop(),), ALL]
FEW = [ALL[:-2], ALL]
PLAIN = {"mean": (0,) * 3, "std": (1,) * 3}


def name_of(parts):
    return "+".join(type(part).__name__ for part in parts)


@pytest.fixture
def dataset():
    return shapes10(size=24)


def epoch_of(loader, epoch=0):
    loader.set_epoch(epoch)
    to_numpy = fc.get_backend().to_numpy
    return [(np.array(to_numpy(x)), np.array(to_numpy(y))) for x, y in loader]


@pytest.mark.parametrize("parts", EACH, ids=name_of)
def test_batches_are_the_same_on_each_backend_and_with_any_number_of_threads(dataset, parts):
    loader = DataLoader(dataset, 10, augmentation=parts, seed=5)
    with use_backend("numpy"):
        want = epoch_of(loader, 3)
    with use_backend("numba") as backend:
        before, found = backend.num_threads, []
        try:
            for threads in (1, 3):
                backend.set_num_threads(threads)
                found.append(epoch_of(loader, 3))
        finally:
            backend.set_num_threads(before)
    for (x, y), (x1, y1), (x2, y2) in zip(want, *found, strict=True):
        np.testing.assert_array_equal(x1, x2)
        np.testing.assert_allclose(x, x1, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(y, y1)
        np.testing.assert_array_equal(y1, y2)


@pytest.mark.parametrize("parts", FEW, ids=name_of)
def test_an_epoch_can_be_taken_up_again_and_another_one_is_another(backend, dataset, parts):
    loader = DataLoader(dataset, 10, augmentation=parts, seed=5, shuffle=False)
    first, second = (epoch_of(loader, epoch) for epoch in (1, 2))
    again = epoch_of(DataLoader(dataset, 10, augmentation=parts, seed=5, shuffle=False), 2)
    for (x, y), (x1, y1) in zip(second, again, strict=True):
        np.testing.assert_array_equal(x, x1)
        np.testing.assert_array_equal(y, y1)
    assert any((x != x1).any() for (x, _), (x1, _) in zip(first, second, strict=True))


@pytest.mark.parametrize("parts", EACH, ids=name_of)
def test_a_batch_is_one_launch(dataset, parts):
    with use_backend("numba") as backend:
        batches = iter(DataLoader(dataset, 7, augmentation=parts))
        for _ in range(4):
            launched = []
            with backend.trace(launched.append):
                next(batches)
            assert launched == ["augment_images" if isinstance(parts[0], FlipCrop) else "transform_each"]


@pytest.mark.parametrize("parts", [ALL[:-2], (Cutout(),)], ids=name_of)
def test_what_an_image_becomes_does_not_depend_on_the_batch_size(backend, dataset, parts):
    small, large = (
        np.concatenate([x for x, _ in epoch_of(DataLoader(dataset, size, augmentation=parts), 1)]) for size in (7, 24)
    )
    np.testing.assert_array_equal(small, large)


def test_others_do_not_change_what_one_draws(backend, dataset):
    alone, after = (
        epoch_of(DataLoader(dataset, 24, augmentation=parts, **PLAIN))[0][0]
        for parts in ((Flip(),), (Flip(), Cutout(8)))
    )
    same = (alone == after).all(-1).reshape(24, -1).mean(1)
    assert (same >= 1 - 64 / 1024).all()


def test_shifted_and_mirrored_images_are_whole(backend, dataset):
    """Each is one of those that padding, cropping and mirroring can make; the byte comes back exactly."""
    loader = DataLoader(dataset, 24, shuffle=False, augmentation=[Flip(), Crop(2, "reflect")], **PLAIN)
    ((x, _),) = epoch_of(loader)
    seen = set()
    for image, result in zip(dataset.images, np.rint(x * 255).astype(np.uint8), strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), "reflect")
        crops = {(y, z): padded[y : y + 32, z : z + 32] for y in range(5) for z in range(5)}
        options = {c[:, ::-1].tobytes(): (*k, 1) for k, c in crops.items()} | {c.tobytes(): k for k, c in crops.items()}
        assert result.tobytes() in options
        seen.add(options[result.tobytes()])
    assert len(seen) > 12


def test_alternating_flips_show_both_sides_in_two_epochs(backend, dataset):
    loader = DataLoader(dataset, 24, augmentation=Flip("alternating"), shuffle=False)
    (first, _), (second, _), (third, _) = (epoch_of(loader, epoch)[0] for epoch in range(3))
    np.testing.assert_array_equal(first, second[:, :, ::-1])
    np.testing.assert_array_equal(first, third)


def test_nothing_and_a_lone_flip_crop_are_as_before(backend, dataset):
    plain, empty = (epoch_of(DataLoader(dataset, 24, augmentation=given)) for given in (None, []))
    np.testing.assert_array_equal(plain[0][0], empty[0][0])
    one, several = (epoch_of(DataLoader(dataset, 24, augmentation=given)) for given in (FlipCrop(), [FlipCrop()]))
    np.testing.assert_array_equal(one[0][0], several[0][0])
    both = [
        epoch_of(DataLoader(dataset, 24, augmentation=given))[0][0]
        for given in ([FlipCrop(pad=2), Cutout()], [Flip(), Crop(2), Cutout()])
    ]
    np.testing.assert_array_equal(*both)


@pytest.mark.slow
def test_cutmix_targets_are_shares_of_the_pixels(backend, dataset):
    flat = dataclasses.replace(
        dataset, images=np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None, None], (24, 8, 6, 3))
    )
    for x, y in epoch_of(DataLoader(flat, 10, augmentation=CutMix(), dtype=np.float64, **PLAIN)):
        assert (y.dtype, y.shape) == (np.float64, (len(x), 10))
        np.testing.assert_allclose(y.sum(1), 1)
        for image, target in zip(np.rint(x * 255), y, strict=True):
            values, counts = np.unique(image[:, :, 0], return_counts=True)
            want = np.zeros(10)
            for value, count in zip(values.astype(int), counts, strict=True):
                want[dataset.labels[value]] += count / 48
            np.testing.assert_allclose(target, want, atol=1e-12)


@pytest.mark.float64
def test_mixup_targets_have_the_share_of_the_batch(backend, dataset):
    loader = DataLoader(dataset, 24, augmentation=Mixup(), shuffle=False, dtype=np.float64)
    ((x, y),) = epoch_of(loader)
    plain = epoch_of(DataLoader(dataset, 24, shuffle=False, dtype=np.float64))[0][0]
    classes = np.eye(10)[dataset.labels]
    share = y[0, dataset.labels[0]] if dataset.labels[0] != dataset.labels[-1] else None
    assert share is not None
    np.testing.assert_allclose(y, share * classes + (1 - share) * np.roll(classes, 1, 0), atol=1e-12)
    np.testing.assert_allclose(x, share * plain + (1 - share) * np.roll(plain, 1, 0), atol=1e-12)


def test_both_mixings_take_turns(backend, dataset):
    loader = DataLoader(dataset, 8, augmentation=[Mixup(), CutMix()], shuffle=False, **PLAIN)
    batches = [x * 255 for epoch in range(5) for x, _ in epoch_of(loader, epoch)]
    whole = [np.abs(x - np.rint(x)).max() < 1e-4 for x in batches]  # of moved bytes alone
    assert 0 < sum(whole) < len(whole)


def test_rows_of_targets_are_mixed_too(backend, rng):
    images, targets = rng.integers(0, 256, (12, 4, 4, 1), dtype=np.uint8), rng.dirichlet(np.ones(3), 12)
    for _, y in epoch_of(DataLoader((images, targets), 6, augmentation=Mixup())):
        assert y.shape == (6, 3)
        np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
    labels = np.arange(12) % 3
    ((_, y),) = epoch_of(DataLoader((images, labels), 12, augmentation=CutMix(num_classes=5)))
    assert y.shape == (12, 5)


@pytest.mark.parametrize("parts", FEW, ids=name_of)
def test_mapped_images_give_the_same_bits(backend, dataset, tmp_path, parts):
    np.save(tmp_path / "x.npy", dataset.images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    one, two = (
        epoch_of(DataLoader(dataclasses.replace(dataset, images=images), 10, augmentation=parts), 1)
        for images in (dataset.images, mapped)
    )
    for (x, y), (x1, y1) in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, x1)
        np.testing.assert_array_equal(y, y1)


def test_every_augmentation_is_tried():
    assert {type(part) for parts in EACH for part in parts} == set(choices("augmentation").values())


@pytest.mark.parametrize("parts", EACH, ids=name_of)
def test_a_step_on_its_batches_is_replayed(dataset, parts):
    with use_backend("numba"):
        model = fc.nn.Sequential(fc.nn.Conv2d(4, 3, stride=4), fc.nn.ReLU(), fc.nn.Flatten(), fc.nn.Dense(10))
        trainer = fc.Trainer(model.build((32, 32, 3)), SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1))
        loader = DataLoader(dataset, 10, augmentation=parts)
        history = trainer.fit(loader, 1)
        assert trainer._captured.works
        assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((Crop(), Flip()), r"got Crop\(.*\) before Flip\(.*\); allowed: in the order Flip, Crop"),
        ((Crop(), Translate()), "got Crop"),
        ((Cutout(), RandomErasing()), "got Cutout"),
        ((Flip(), FlipCrop()), "got Flip"),
        ((Mixup(), Mixup(0.2)), "got Mixup"),
        ((Mixup(), Flip()), "got Mixup"),
        ((Flip,), "got <class"),
        ("flip", "got 'flip'; allowed: None, FlipCrop, one of"),
        (
            (Crop(32, "reflect"),),
            r"got Crop\(pad=32, .*\) for images \(32, 32, 3\); allowed: images of more",
        ),
    ],
)
def test_what_cannot_go_together_is_refused(dataset, given, message):
    with pytest.raises(ArgumentError, match=f"^augmentation: {message}"):
        DataLoader(dataset, augmentation=given)


@pytest.mark.parametrize(
    ("shape", "y", "given", "message"),
    [
        ((4, 8, 8, 4), np.zeros(4, int), ColorJitter(0.1), "allowed: images of 1 or 3 channels"),
        ((4, 8, 8, 3), np.zeros(4, int), Mixup(), "for a pair with class numbers; allowed: with num_classes"),
        ((4, 8, 8, 3), np.arange(4), Mixup(num_classes=3), "class numbers from 0 to 3; allowed: those below"),
        ((4, 8, 8, 3), np.zeros(4), CutMix(), "targets float64 .*; allowed: class numbers"),
        ((4, 2, 8, 3), np.zeros(4, int), Translate(0.9, 0.9, "reflect"), "allowed: images that are larger"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(shape, y, given, message):
    with pytest.raises(ArgumentError, match=f"^augmentation: got .*{message}"):
        DataLoader((np.zeros(shape, np.uint8), y), augmentation=given)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (5, 1, 4)])
def test_images_of_any_shape_are_changed(backend, shape):
    images = np.random.default_rng(0).integers(0, 256, (9, *shape), dtype=np.uint8)
    parts = [Flip(), Crop(2), Affine(45, (1, 1), (0.5, 2), 30), RandomErasing(1.0), Mixup(num_classes=2), CutMix()]
    if shape[2] != 4:
        parts.insert(3, ColorJitter(0.5, 0.5, 0.5, 0.5))
    for x, y in epoch_of(DataLoader((images, np.arange(9) % 2), 4, augmentation=parts)):
        assert x.shape[1:] == shape
        assert np.isfinite(x).all()
        assert y.shape[1:] == (2,)


@pytest.mark.emulator
def test_batches_of_the_cuda_kernels_are_the_same(dataset):
    loader = DataLoader(dataset.take(slice(9)), 5, augmentation=ALL, seed=5)
    with use_backend("numpy"):
        want = epoch_of(loader, 3)
    emulator = emulator_or_skip()
    with use_backend(emulator.name):
        launched = []
        with emulator.trace(launched.append):
            found = epoch_of(loader, 3)
    assert launched == ["transform_each"] * 2
    for (x, y), (x1, y1) in zip(want, found, strict=True):
        np.testing.assert_allclose(x, x1, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(y, y1)
