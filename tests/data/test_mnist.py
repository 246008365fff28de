"""MNIST and Fashion-MNIST in the folders they come in, and what happens to files that are not what they should be."""

import doctest
import gzip
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import fashion_mnist, mnist
from fastconv.errors import ArgumentError, DataError

from .files import idx

READERS = {"mnist": mnist, "fashion-mnist": fashion_mnist}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of its package dataset-fashion-mnist


@pytest.fixture
def parts(rng):
    """Images and labels of both parts, as arrays to be changed and written."""
    return {
        prefix: (rng.integers(1, 256, (count, 28, 28), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8))
        for prefix, count in (("train", 30), ("t10k", 10))
    }


def write(folder, parts, pack=bytes, suffix=""):
    folder.mkdir(parents=True)
    for prefix, (images, labels) in parts.items():
        (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
        (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz")])
@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "mnist"), ("mnist", "MNIST/raw"), ("mnist", "."), ("fashion-mnist", "FashionMNIST/raw")],
)
def test_both_parts_are_read(tmp_path, parts, name, folder, pack, suffix):
    write(tmp_path / "data" / folder, parts, pack, suffix)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        data = READERS[name](tmp_path / "data", split)
        images, labels = parts[prefix]
        assert (data.name, len(data.class_names)) == (f"{name}/{split}", 10)
        np.testing.assert_array_equal(data.images[..., 0], images)
        np.testing.assert_array_equal(data.labels, labels)


def test_the_two_sets_have_folders_of_their_own(tmp_path, parts):
    write(tmp_path / "mnist", parts)
    with pytest.raises(DataError, match=f"fashion-mnist: no train-images-idx3-ubyte in {tmp_path}; "):
        fashion_mnist(tmp_path)


def test_the_example_that_is_not_run_has_the_names_of_the_classes(tmp_path, parts):
    write(tmp_path / "fashion-mnist", parts)
    (example,) = doctest.DocTestParser().get_examples(fashion_mnist.__doc__)
    called = example.source.partition("#")[0].replace("split=", f"{str(tmp_path)!r}, split=")
    assert example.want == f"{eval(called, {'fc': fc})}\n"


@pytest.mark.parametrize("name", READERS)
def test_missing_data_says_how_to_get_it(tmp_path, name, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "no where"))
    with pytest.raises(DataError, match=rf"fastconv data download {name} --data-dir '{tmp_path}/no where'"):
        READERS[name]()


def test_a_missing_half_is_named(tmp_path, parts):
    write(tmp_path / "mnist", parts)
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"mnist lacks t10k-labels-idx1-ubyte;"):
        mnist(tmp_path, "test")
    assert len(mnist(tmp_path)) == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda images, labels: (images[:9], labels), r"labels-idx1-ubyte: got uint8 \(10,\); allowed: .* 9 images"),
        (lambda images, labels: (images, labels * 0 + 10), r"labels-idx1-ubyte: got the label 10; allowed: 0 to 9"),
        (lambda images, labels: (images[0], labels), r"images-idx3-ubyte: got uint8 \(28, 28\); allowed: images"),
        (lambda images, labels: (images.astype("i2"), labels), r"got int16 \(10, 28, 28\); allowed: images, uint8"),
        (lambda images, labels: (images, labels[:, None]), r"got uint8 \(10, 1\); allowed: a label for each"),
        (
            lambda images, labels: (images * (np.arange(10) < 7)[:, None, None], labels),
            r"images-idx3-ubyte: got 3 images of zeros, the first of them image 7; ",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, parts, change, words):
    images, labels = change(*parts["t10k"])
    write(tmp_path / "mnist", {**parts, "t10k": (images.astype(images.dtype if images.dtype != int else "u1"), labels)})
    with pytest.raises(DataError, match=words):
        mnist(tmp_path, "test")


def labelled(labels):
    return np.full((len(labels), 2, 2), 255, np.uint8), np.asarray(labels, np.uint8)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (980, 1000, "20 labels 0 .* at the end"),
        (0, 1000, "1,000 labels 0"),
        (99, 600, "50. labels 0 .* from image 9[89]"),
    ],
)
def test_zeros_in_the_place_of_labels_are_refused(tmp_path, rng, name, begin, end, words):
    labels = rng.integers(0, 10, 1000)
    labels[[begin - 1, end % 1000]] = 3
    labels[begin:end] = 0
    write(tmp_path / "data", {"t10k": labelled(labels)})
    with pytest.raises(DataError, match=rf"t10k-labels-idx1-ubyte: got {words}.*; allowed: fewer than 20 at the end "):
        READERS[name](tmp_path / "data", "test")


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([*range(10), *[0] * 19], id="few"),
        pytest.param(np.sort(np.arange(1000) % 10)[::-1], id="class by class"),
        pytest.param([*range(10), *[0] * 499, 1], id="within"),
        pytest.param([7] * 600 + [0] * 600, id="two classes"),
        pytest.param([1] * 600 + [0, 1] * 10, id="of another class"),
        pytest.param([], id="none"),
    ],
)
def test_labels_that_may_be_right_are_read(tmp_path, labels):
    write(tmp_path / "data", {"t10k": labelled(labels)})
    assert mnist(tmp_path / "data", "test").labels.tolist() == list(labels)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="split: got 'valid'; allowed: 'train', 'test'"):
        mnist(tmp_path, "valid")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_real_files():
    """The real files: sizes, balanced classes, and the mean and deviation of the training images."""
    train, test = fashion_mnist(DEBIAN), fashion_mnist(DEBIAN, "test")
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.images.mean() / 255 == pytest.approx(train.mean[0], abs=1e-4)
    assert train.images.std() / 255 == pytest.approx(train.std[0], abs=1e-4)
