from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DataError, FastconvError
from tests.training.ranks import by_ranks, digest, trainer_of

NORMAL = {"mean": (0.5,), "std": (0.25,)}


@pytest.fixture
def files(tmp_path, rng):
    found = []
    for shard, rows in enumerate((9, 4, 12, 10)):
        paths = tmp_path / f"x{shard}.npy", tmp_path / f"y{shard}.npy"
        np.save(paths[0], rng.integers(0, 256, (rows, 6, 6, 1), np.uint8))
        np.save(paths[1], rng.integers(0, 3, rows).astype(np.int32))
        found.append(paths)
    return found


def test_each_rank_opens_its_own_and_bits_do_not_depend_on_how_many_there_are(files, monkeypatch):
    opened = []
    real = fc.data.shard_files.arrays
    monkeypatch.setattr(
        fc.data.shard_files, "arrays", lambda images, *a, **k: opened.append(images) or real(images, *a, **k)
    )

    def rank(communicator):
        model = nn.Sequential(nn.Conv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Dense(3)).build((6, 6, 1), seed=1)
        data = fc.data.ShardFiles(files, 16, augmentation=fc.data.FlipCrop(pad=1), **NORMAL)
        before = len(opened)
        trainer = trainer_of(model, communicator, shards=4)
        history = trainer.fit(data, 2)
        assert len(history.history["loss"]) == 2
        return digest(model), trainer.step, trainer.images_computed, before

    one = by_ranks(1, "numpy", rank)
    assert opened == [images for images, _ in files]
    opened.clear()
    two, four = by_ranks(2, "numpy", rank), by_ranks(4, "numpy", rank)
    assert {each[:2] for each in (*one, *two, *four)} == {(one[0][0], 6)}
    assert [each[2] for each in four] == [18, 8, 24, 20]
    assert sorted(opened) == sorted([images for images, _ in files] * 2)


def test_a_file_at_its_end_goes_on_with_no_rows(files):
    with fc.use_backend("numpy"):
        own = fc.data.ShardFiles(files, 16, **NORMAL).part(1, 3, 4)
        sizes = [[len(piece[1]) for piece in pieces] for pieces in own]
    assert len(own) == 3
    assert sizes == [[4, 4], [0, 4], [0, 4]]


def test_a_file_may_have_no_rows_at_all(tmp_path, files):
    np.save(files[1][0], np.zeros((0, 6, 6, 1), np.uint8))
    np.save(files[1][1], np.zeros(0, np.int32))
    with fc.use_backend("numpy"):
        for settings in ({}, {"drop_last": True}, {"augmentation": fc.data.FlipCrop(pad=1)}):
            own = fc.data.ShardFiles(files, 16, dtype=np.float64, **NORMAL, **settings).part(1, 2, 4)
            shapes = [[(piece[0].shape, piece[0].dtype, piece[1].shape) for piece in pieces] for pieces in own]
            assert shapes == [[((0, 6, 6, 1), np.float64, (0,))]] * 3

    def rank(communicator):
        model = nn.Sequential(nn.Flatten(), nn.Dense(3)).build((6, 6, 1), seed=1)
        trainer = trainer_of(model, communicator, shards=4)
        trainer.fit(fc.data.ShardFiles(files, 16, **NORMAL), 1)
        return digest(model), trainer.images_computed

    one, four = by_ranks(1, "numpy", rank), by_ranks(4, "numpy", rank)
    assert {weights for weights, _ in four} == {one[0][0]}
    assert [images for _, images in four] == [9, 0, 12, 10]


def test_labels_that_are_texts_need_the_names_of_all_classes(files):
    """Each file alone would give its first one the number 0."""
    for number, (_, labels) in enumerate(files):
        count = len(np.load(labels))
        np.save(labels, np.array(["cat", "dog"] if number % 2 else ["ape", "dog"]).repeat(count)[:count])
    with fc.use_backend("numpy"):
        with pytest.raises(
            ArgumentError, match=r"^class_names: got None for .*y0.npy, whose labels are texts; allowed"
        ):
            fc.data.ShardFiles(files, 16, **NORMAL).part(0, 4, 4)
        own = fc.data.ShardFiles(files, 16, class_names=("ape", "cat", "dog"), **NORMAL).part(0, 2, 4)
        assert [set(piece[1].tolist()) for piece in next(iter(own))] == [{0}, {1}]


def test_what_does_not_fit_is_refused(files, tmp_path):
    with pytest.raises(ArgumentError, match=r"^batch_size: got 10; allowed: a multiple of the 4 files"):
        fc.data.ShardFiles(files, 10, **NORMAL)
    with pytest.raises(ArgumentError, match=r"^files: got none"):
        fc.data.ShardFiles([], 8, **NORMAL)
    data = fc.data.ShardFiles(files, 16, **NORMAL)
    with pytest.raises(ArgumentError, match=r"^files: got 4 pairs for 8 shards"):
        data.part(0, 8, 8)
    with pytest.raises(ArgumentError, match=r"parallel=DataParallel"):
        iter(data)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"bad.npy: got"):
        fc.data.ShardFiles([(tmp_path / "bad.npy", files[0][1])], 16, **NORMAL)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"foo": 1}, "settings: got 'foo'; allowed: shuffle, augmentation, drop_last, dtype$"),
        ({"mean": 0.5}, "mean, std: got 0.5 and .* allowed: 1 finite numbers each"),
        ({"std": (0.25, 0.25)}, "mean, std: got .* allowed: 1 finite numbers each"),
        ({"class_names": 3}, "class_names: got 3; allowed: "),
        ({"shuffle": "no"}, "shuffle: got 'no'; allowed: True, False"),
        ({"drop_last": 2}, "drop_last: got 2; allowed: True, False"),
        ({"dtype": np.int32}, "dtype: got int32; allowed: float32 or float64"),
        ({"augmentation": 3}, "augmentation: got 3; allowed: "),
    ],
)
def test_settings_are_refused_where_they_are_given(files, settings, words):
    with pytest.raises(FastconvError, match=f"^{words}"):
        fc.data.ShardFiles(files, 16, **NORMAL | settings)


def test_files_are_pairs_of_npy_files_of_images(files, tmp_path):
    for pairs in ([(*pair, "z.npy") for pair in files], ["xy"], [3], "x.npy", files[0][0], 3, [None]):
        with pytest.raises(ArgumentError, match=r"^files: got .*; allowed: a pair \(images, labels\) for each shard"):
            fc.data.ShardFiles(pairs, 16, **NORMAL)
    np.savez(tmp_path / "set.npz", x=np.zeros((4, 6, 6, 1), np.uint8))
    np.save(tmp_path / "float.npy", np.zeros((4, 6, 6, 1), np.float32))
    np.save(tmp_path / "scalar.npy", np.uint8(3))
    whole = (tmp_path / "scalar.npy").read_bytes()
    (tmp_path / "header.npy").write_bytes(whole.replace(b"}", b"(", 1))
    for name, got in (
        ("set.npz", "got a damaged or foreign file"),
        ("header.npy", "got a damaged or foreign file"),
        ("float.npy", r"got float32 \(4, 6, 6, 1\)"),
        ("scalar.npy", r"got uint8 \(\)"),
    ):
        with pytest.raises(DataError, match=f"{name}: {got}; allowed: "):
            fc.data.ShardFiles([*files[:3], (tmp_path / name, files[3][1])], 16, **NORMAL)
