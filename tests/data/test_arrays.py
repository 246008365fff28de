"""Data sets from arrays, archives, files mapped into memory, and generators."""

import contextlib
import gc
import multiprocessing
import os
import struct
import sys
import threading
import time
import zipfile

import numpy as np
import pytest

import fastconv.data
from fastconv.data import DataLoader, Dataset, arrays, generated, npz
from fastconv.data._npy import HEADERS, mapped
from fastconv.errors import ArgumentError, DataError
from tests.interrupts import Interrupts


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.arange(12) % 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i2", np.bool_])
def test_arrays_takes_integer_labels(images, labels, dtype):
    data = arrays(images, (labels > 0 if dtype is np.bool_ else labels).astype(dtype))
    assert data.images is images
    assert data.class_names == (("0", "1") if dtype is np.bool_ else ("0", "1", "2"))
    np.testing.assert_allclose(data.mean, images.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(data.std, images.std((0, 1, 2)) / 255)


def test_arrays_takes_names_of_classes(images, labels):
    names = np.array(["ß", "cat", "a b"])[labels]
    data = arrays(images, names.tolist(), mean=(0, 0, 0), std=(1, 1, 1))
    assert data.class_names == ("a b", "cat", "ß")
    assert data.labels[:4].tolist() == [2, 1, 0, 2]
    assert (data.mean, data.std) == ((0, 0, 0), (1, 1, 1))
    assert arrays(images, labels, mean=np.array([0.1, 0.2, 0.3])).mean == (0.1, 0.2, 0.3)
    assert arrays(images, names, class_names=("cat", "a b", "ß", "dog")).labels[:3].tolist() == [2, 0, 1]
    with pytest.raises(DataError, match="labels: got 'a b'; allowed: cat, ß"):
        arrays(images, names, class_names=("cat", "ß"))


def test_arrays_takes_grey_images_and_columns_of_labels(images, labels):
    data = arrays(images[..., 0], labels[:, None])
    assert data.images.shape == (12, 4, 5, 1)
    assert data.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((3, 2, 2, 1), np.float32), [0] * 3, r"images: got float32 \(3, 2, 2, 1\); allowed: uint8"),
        (np.zeros((3, 2), np.uint8), [0] * 3, r"images: got uint8 \(3, 2\); allowed: uint8"),
        ([[[1]]], [0], "images: got list; allowed: a NumPy array"),
        (np.zeros((3, 2, 2), np.uint8), [0] * 4, r"labels: got int32 \(4,\); allowed: int32 \(3,\)"),
        (np.zeros((3, 2, 2), np.uint8), [0.5] * 3, r"labels: got float64 \(3,\); allowed: integers or strings"),
        (np.zeros((3, 2, 2), np.uint8), [0, -1, 2], "labels: got values from -1 to 2; allowed"),
        (np.zeros((3, 2, 2), np.uint8), [0, 2**40, 2], "labels: got values from 0 to 1099511627776; allowed"),
        (np.zeros((3, 2, 2), np.uint8), [None] * 3, "labels: got object"),
        (np.ma.masked_array(np.zeros((3, 2, 2), np.uint8)), [0] * 3, "images: got MaskedArray; allowed"),
    ],
)
def test_arrays_refuses_others(x, y, words):
    with pytest.raises(DataError, match=words):
        arrays(x, y)


def test_npy_files_are_mapped_and_give_the_batches_of_arrays(tmp_path, backend, images, labels):
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", labels)
    mapped = arrays(tmp_path / "x.npy", str(tmp_path / "y.npy"))
    assert isinstance(mapped.images, np.memmap)
    for shuffle in (False, True):
        here, there = (DataLoader(data, 5, shuffle=shuffle) for data in (mapped, arrays(images, labels)))
        for (x, y), (x2, y2) in zip(here, there, strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


def test_threads_open_files_at_the_same_time(tmp_path, images, labels):
    """CPython 3.11 confuses threads that parse, as NumPy does with headers, if the garbage collector comes between."""
    np.save(tmp_path / "x.npy", images)
    np.savez(tmp_path / "both.npz", images=images, labels=labels)
    errors = []

    def work():
        try:
            for _ in range(40):
                arrays(tmp_path / "x.npy", labels)
                fastconv.data.shard_files._shape_in(tmp_path / "x.npy")
                npz(tmp_path / "both.npz")
        except SystemError as error:
            errors.append(error)

    threshold, yields = gc.get_threshold(), lambda *_: time.sleep(0)
    gc.callbacks.append(yields)
    gc.set_threshold(5, 1, 1)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(yields)
    assert not errors


def test_a_forked_process_opens_files_whatever_threads_read_meanwhile(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    held = threading.Event()

    def hold():
        with HEADERS:
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    process = multiprocessing.get_context("fork").Process(target=mapped, args=(tmp_path / "x.npy",))
    process.start()
    process.join(20)
    alive = process.is_alive()
    process.kill()
    thread.join()
    assert not alive
    assert process.exitcode == 0


def test_an_interrupt_that_is_kept_keeps_no_file_from_being_read(tmp_path, images):
    """As an interactive Python keeps it: all that reads such files, and all forks, waited for ever."""
    np.save(tmp_path / "x.npy", images)
    for number in range(1000):
        interrupts, before, kept = Interrupts(number, (contextlib.__file__,), instructions=True), sys.gettrace(), None
        sys.settrace(interrupts)
        try:
            mapped(tmp_path / "x.npy")
        except KeyboardInterrupt as error:
            kept = error
        finally:
            sys.settrace(before)
        assert not HEADERS.locked()
        if kept is None:
            return
    raise AssertionError("it never ends")


def damaged(whole):
    return {"cut": whole[: len(whole) // 2], "empty": b"", "foreign": b"PNG" + whole, "head": whole[:6]}


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "head"])
def test_damaged_npy_files_are_named(tmp_path, images, labels, damage):
    np.save(tmp_path / "x.npy", images)
    data = damaged((tmp_path / "x.npy").read_bytes())[damage]
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"x.npy: got a damaged or foreign file; allowed: a whole .npy file"):
        arrays(tmp_path / "x.npy", labels)
    assert (tmp_path / "x.npy").read_bytes() == data


@pytest.mark.parametrize("new", [b"(", b"\0", b"'''", b"-" * 4000])
def test_a_header_that_is_no_python_is_damage(tmp_path, images, labels, new):
    """NumPy hands on what the tokenizer says, which is no ValueError."""
    np.save(tmp_path / "x.npy", images)
    header = (tmp_path / "x.npy").read_bytes().replace(b"}", new, 1)
    header = header[:8] + struct.pack("<H", 117 + len(new)) + header[10:]
    (tmp_path / "x.npy").write_bytes(header)
    with pytest.raises(DataError, match=r"x.npy: got a damaged or foreign file; allowed: a whole .npy file"):
        arrays(tmp_path / "x.npy", labels)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", header)
        archive.writestr("labels.npy", header)
    with pytest.raises(DataError, match=r"set.npz: got a damaged or foreign file; allowed: a .npz archive of arrays"):
        npz(tmp_path / "set.npz")


def test_npy_files_are_not_unpickled(tmp_path, images):
    np.save(tmp_path / "y.npy", np.array([print] * 12), allow_pickle=True)
    with pytest.raises(DataError, match=r"y.npy: got a damaged or foreign file"):
        arrays(images, tmp_path / "y.npy")
    with pytest.raises(DataError, match=r"none.npy: got No such file or directory; allowed: "):
        arrays(images, tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("x", "y"), [("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")]
)
def test_npz_finds_the_usual_names(tmp_path, images, labels, x, y):
    np.savez_compressed(tmp_path / "set.npz", **{x: images, y: labels, "x_test": images[:2], "y_test": labels[:2]})
    data = npz(tmp_path / "set.npz", class_names=("a", "b", "c"))
    assert (data.name, data.class_names) == ("set/train", ("a", "b", "c"))
    np.testing.assert_array_equal(data.images, images)
    assert len(npz(tmp_path / "set.npz", "test")) == 2


def test_npz_takes_other_names(tmp_path, images, labels):
    np.savez(tmp_path / "set.npz", pictures=images, kinds=labels)
    assert npz(tmp_path / "set.npz", images="pictures", labels="kinds").labels.tolist() == labels.tolist()
    with pytest.raises(DataError, match=r"set.npz: got the arrays pictures, kinds; allowed: x_test and y_test, "):
        npz(tmp_path / "set.npz", "test")
    with pytest.raises(ArgumentError, match="images, labels: got 'pictures' and None"):
        npz(tmp_path / "set.npz", images="pictures")


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "head", "bit"])
def test_damaged_archives_are_named(tmp_path, images, labels, damage):
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    whole = (tmp_path / "set.npz").read_bytes()
    flipped = whole[:400] + bytes([whole[400] ^ 1]) + whole[401:]
    data = {**damaged(whole), "bit": flipped}[damage]
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"set.npz: got a damaged or foreign file; allowed: a .npz archive of arrays"):
        npz(tmp_path / "set.npz")


def test_an_archive_is_not_unpickled_and_a_single_array_is_none(tmp_path, images):
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([print] * 12))
    with pytest.raises(DataError, match=r"set.npz: got a damaged or foreign file"):
        npz(tmp_path / "set.npz")
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(DataError, match=r"x.npy: got a damaged or foreign file"):
        npz(tmp_path / "x.npy")


@pytest.mark.parametrize("in_file", [False, True])
def test_a_generator_is_collected(tmp_path, images, labels, in_file):
    file = tmp_path / "x.npy" if in_file else None
    buffer = np.empty(images.shape[1:], np.uint8)

    def samples():
        for image, label in zip(images, labels, strict=True):
            buffer[:] = image  # one buffer for all of them
            yield buffer, label

    data = generated(samples(), file=file, name="mine")
    assert (data.name, isinstance(data.images, np.memmap)) == ("mine", in_file)
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, labels)
    assert os.listdir(tmp_path) == ["x.npy"] * in_file
    if in_file:
        np.testing.assert_array_equal(np.load(file), images)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (3, "got int as sample 2; allowed: "),
        ((np.zeros((4, 5, 3), np.uint8),), "got tuple as sample 2"),
        ((np.zeros((4, 4, 3), np.uint8), 1), r"image uint8 \(4, 4, 3\) as sample 2; allowed: uint8 \(4, 5, 3\), as"),
        ((np.zeros((4, 5, 3), np.float32), 1), r"image float32 \(4, 5, 3\) as sample 2; allowed: uint8"),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_a_bad_sample_is_named_and_leaves_the_file_as_it_was(tmp_path, images, sample, words, in_file):
    (tmp_path / "x.npy").write_bytes(b"before")
    with pytest.raises(DataError, match=words):
        generated([(images[0], 0), (images[1], 1), sample], file=tmp_path / "x.npy" if in_file else None)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.npy", b"before")]


def test_a_generator_that_fails_leaves_the_file_as_it_was(tmp_path, images):
    def samples():
        yield images[0], 0
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        generated(samples(), file=tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="samples: got none from list; allowed: one or more"):
        generated([], file=tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"file: got .*missing/x.npy \(No such file or directory\); allowed: a place"):
        generated([(images[0], 0)], file=tmp_path / "missing" / "x.npy")


@pytest.mark.parametrize("labels", [np.arange(12), np.array(["a"] * 12)], ids=["numbers", "names"])
@pytest.mark.parametrize("name", ["mean", "std", "class_names"])
@pytest.mark.parametrize("value", [0.5, "abc", np.array(0.5)], ids=repr)
def test_one_value_is_none_for_each(images, labels, name, value):
    with pytest.raises(DataError, match=rf"^{name}: got .*; allowed: a (number|name) for each (channel|class)"):
        arrays(images, labels, **{name: value})


def test_a_mask_is_not_lost(images, labels):
    masked = np.ma.masked_array(images, True)
    for make in (
        lambda: arrays(masked, labels),
        lambda: generated([(masked[0], 0)]),
        lambda: Dataset("mine", masked, np.zeros(12, np.int32), ("a",), (0.5,) * 3, (0.5,) * 3),
        lambda: Dataset("mine", images, np.ma.zeros(12, np.int32), ("a",), (0.5,) * 3, (0.5,) * 3),
    ):
        with pytest.raises(DataError, match=r"[Mm]asked"):
            make()


@pytest.mark.parametrize("make", [arrays, lambda x, y: generated(zip(x, y, strict=True))])
def test_labels_of_several_lengths_are_refused(images, make):
    with pytest.raises(DataError, match=r"^labels: got \[\[1\], \[1, 2\]\]; allowed: integers or strings \(M,\)"):
        make(images[:2], [[1], [1, 2]])


def test_numbers_that_number_no_classes_are_refused(images):
    with pytest.raises(
        DataError, match=r"^labels: got 2000000000; allowed: numbers of classes below 1,048,576, or class"
    ):
        arrays(images[:2], [0, 2_000_000_000])


def test_names_tell_classes_apart(images):
    with pytest.raises(DataError, match=r"^class_names: got 'cat' twice; allowed: each name once"):
        arrays(images[:2], ["cat", "dog"], class_names=["cat", "dog", "cat"])


@pytest.mark.parametrize("samples", [5, lambda: iter(()), generated], ids=["number", "function", "another"])
def test_samples_that_are_none_are_refused(samples):
    with pytest.raises(DataError, match=r"^samples: got (int|function); allowed: an iterable of pairs"):
        generated(samples)


def test_settings_are_checked_before_anything_is_read(tmp_path, images):
    def samples():
        raise AssertionError("asked for a sample")
        yield

    with pytest.raises(ArgumentError, match=r"^clas_names: got it for generated, .*nearest: 'class_names'"):
        generated(samples(), file=tmp_path / "x.npy", clas_names=("a",))
    with pytest.raises(ArgumentError, match=r"^name: got it for npz, which has no such argument; allowed: path, split"):
        npz(tmp_path / "none.npz", name="mine")
    assert list(tmp_path.iterdir()) == []


def test_names_of_arrays_are_texts(tmp_path, images):
    np.savez(tmp_path / "x.npz", x_train=images[:2], y_train=[0, 1])
    with pytest.raises(ArgumentError, match=r"^split: got 5; allowed: a name of arrays, a text"):
        npz(tmp_path / "x.npz", 5)
    with pytest.raises(ArgumentError, match=r"^images: got 1; allowed: a name"):
        npz(tmp_path / "x.npz", images=1, labels=2)
    with pytest.raises(ArgumentError, match=r"^images: got ''; allowed: a name"):
        npz(tmp_path / "x.npz", images="", labels="")


def test_arguments_of_other_libraries_are_told(images):
    with pytest.raises(ArgumentError, match=r"^labels: got nothing for arrays; allowed: arrays\(images, labels"):
        fastconv.data.arrays(images)
    with pytest.raises(ArgumentError, match=r"^transform: got it for image_folder.*DataLoader\(dataset, augmentation"):
        fastconv.data.image_folder("none", transform=None)
