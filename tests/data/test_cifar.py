"""CIFAR-10 in both layouts, and what happens to files that are not what they should be."""

import hashlib
import io
import lzma
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import cifar, cifar10, cifar100, default_directory
from fastconv.errors import ArgumentError, DataError

COUNT = 20  # images a batch in the synthetic files


@pytest.fixture
def batches(monkeypatch):
    """Six small batches of random bytes: {name: records (COUNT, 3073)}."""
    monkeypatch.setattr(cifar, "_IMAGES_PER_BATCH", COUNT)
    random = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    records = {name: random.integers(0, 256, (COUNT, 3073), dtype=np.uint8) for name in names}
    for batch in records.values():
        batch[:, 0] = random.integers(0, 10, COUNT)
    return records


def write_binary(folder, batches):
    folder.mkdir(parents=True)
    for name, records in batches.items():
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_pickled(folder, batches, protocol=2, key=str.encode, label_type=list):
    folder.mkdir(parents=True)
    for name, records in batches.items():
        labels = records[:, 0].tolist() if label_type is list else records[:, 0].astype(label_type)
        batch = {key("data"): records[:, 1:].copy(), key("labels"): labels, key("batch_label"): name.encode()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))


def test_cifar10_reads_the_binary_layout(tmp_path, batches):
    write_binary(tmp_path / "cifar-10-batches-bin", batches)
    train, test = cifar10(tmp_path), cifar10(tmp_path, "test")
    assert (train.name, len(train), len(test)) == ("cifar10/train", 5 * COUNT, COUNT)
    assert train.images.flags.c_contiguous
    record = batches["data_batch_2"][3]
    assert train.labels[COUNT + 3] == record[0]
    # Planes of red, green and blue, each row by row: pixel (5, 7).
    assert train.images[COUNT + 3, 5, 7].tolist() == [record[1 + plane * 1024 + 5 * 32 + 7] for plane in range(3)]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", [str, str.encode], ids=["str", "bytes"])
@pytest.mark.parametrize("label_type", [list, np.int64, ">i4"])
def test_cifar10_layouts_agree(tmp_path, batches, protocol, key, label_type):
    write_binary(tmp_path / "binary", batches)
    write_pickled(tmp_path / "cifar-10-batches-py", batches, protocol, key, label_type)
    for split in ("train", "test"):
        binary, pickled = cifar10(tmp_path / "binary", split), cifar10(tmp_path, split)
        np.testing.assert_array_equal(binary.images, pickled.images)
        np.testing.assert_array_equal(binary.labels, pickled.labels)


def test_cifar10_reads_what_python_2_wrote(tmp_path, batches):
    """The published files: strings of bytes everywhere, also in the array's own description."""
    write_pickled(tmp_path / "py", batches)
    records = batches["test_batch"]
    stream = io.BytesIO()
    stream.write(b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR")
    stream.write(
        b"(K\x01(K\x14M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    stream.write(b"\x89T" + (COUNT * 3072).to_bytes(4, "little") + records[:, 1:].tobytes() + b"tbU\x06labels](")
    stream.write(b"".join(b"K" + bytes([label]) for label in records[:, 0]) + b"eu.")
    (tmp_path / "py" / "test_batch").write_bytes(stream.getvalue())
    test = cifar10(tmp_path / "py", "test")
    np.testing.assert_array_equal(test.images.transpose(0, 3, 1, 2).reshape(COUNT, -1), records[:, 1:])
    np.testing.assert_array_equal(test.labels, records[:, 0])


def test_cifar10_missing_data_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as caught:
        cifar10()
    for part in (str(tmp_path / "nowhere"), "https://www.cs.toronto.edu/~kriz/cifar.html", "--data-dir"):
        assert part in str(caught.value)


def test_cifar10_names_the_missing_batches(tmp_path, batches):
    del batches["data_batch_3"], batches["test_batch"]
    write_binary(tmp_path / "bin", batches)
    with pytest.raises(DataError, match=r"lacks data_batch_3\.bin;"):
        cifar10(tmp_path / "bin")
    with pytest.raises(DataError, match=r"lacks test_batch\.bin;"):
        cifar10(tmp_path / "bin", "test")


@pytest.mark.parametrize("change", [-1, 1])
def test_cifar10_refuses_a_file_of_another_size(tmp_path, batches, change):
    write_binary(tmp_path / "bin", batches)
    path = tmp_path / "bin" / "data_batch_4.bin"
    path.write_bytes(path.read_bytes()[:change] if change < 0 else path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=rf"data_batch_4.bin: got {COUNT * 3073 + change:,} bytes; allowed: exactly"):
        cifar10(tmp_path / "bin")


@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_cifar10_refuses_labels_out_of_range(tmp_path, batches, write):
    batches["data_batch_5"][7, 0] = 10
    write(tmp_path / "data", batches)
    with pytest.raises(DataError, match=r"got labels from \d to 10; allowed: 0 to 9"):
        cifar10(tmp_path / "data")


def test_cifar10_refuses_an_unknown_split(tmp_path):
    with pytest.raises(ArgumentError, match="split: got 'valid'; allowed: 'train', 'test'"):
        cifar10(tmp_path, "valid")


class Evil:
    def __reduce__(self):
        return print, ("this must never be printed",)


def good_data():
    return np.zeros((COUNT, 3072), np.uint8)


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param({"data": good_data(), "labels": [Evil()] * COUNT}, id="call"),
        pytest.param({"data": np.full((COUNT, 3072), None), "labels": [0] * COUNT}, id="object-array"),
        pytest.param({"data": np.zeros((COUNT, 3072), "f4"), "labels": [0] * COUNT}, id="float-array"),
        pytest.param({"data": np.zeros(COUNT, [("a", "u1"), ("b", "O")]), "labels": [0] * COUNT}, id="record-array"),
        pytest.param({"data": good_data()[:-1], "labels": [0] * COUNT}, id="too-few-images"),
        pytest.param({"data": good_data(), "labels": [0] * (COUNT - 1)}, id="too-few-labels"),
        pytest.param({"data": good_data(), "labels": [0.5] * COUNT}, id="fraction-label"),
        pytest.param({"data": good_data(), "labels": [2**70] * COUNT}, id="huge-label"),
        pytest.param({"data": good_data()}, id="no-labels"),
        pytest.param({"data": Path("x"), "labels": []}, id="foreign-class"),
        pytest.param([1, 2], id="no-dict"),
    ],
)
def test_cifar10_refuses_other_pickles(tmp_path, batches, batch, capsys):
    write_pickled(tmp_path / "py", batches)
    (tmp_path / "py" / "test_batch").write_bytes(pickle.dumps(batch, 4))
    with pytest.raises(DataError, match=r"test_batch: got .*; allowed: "):
        cifar10(tmp_path / "py", "test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["f4", "f8", "b1", "c8", "i3", "V4", "M8[D]"])
def test_arrays_in_pickles_are_of_integers(tmp_path, batches, kind):
    """Refused by their type, before there are any values of it."""
    write_pickled(tmp_path / "py", batches)
    content = pickle.dumps({"data": np.zeros((COUNT, 3072), "i4"), "labels": [0] * COUNT}, 4)
    assert content.count(b"\x8c\x02i4") == 1  # a short text
    told = b"\x8c" + bytes([len(kind)]) + kind.encode()
    (tmp_path / "py" / "test_batch").write_bytes(content.replace(b"\x8c\x02i4", told))
    with pytest.raises(DataError, match=rf"test_batch: got .*array of type '{re.escape(kind)}'.*; allowed: "):
        cifar10(tmp_path / "py", "test")


def test_cifar10_refuses_damaged_pickles(tmp_path, batches):
    """Cut off anywhere, or with one byte changed: refused or read, but never anything else."""
    write_pickled(tmp_path / "py", batches)
    path = tmp_path / "py" / "test_batch"
    whole = path.read_bytes()
    for length in (0, 1, 30, 150, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            cifar10(tmp_path / "py", "test")
    for position in range(220):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            cifar10(tmp_path / "py", "test")
        except DataError:
            continue


@pytest.mark.parametrize("write", [write_binary, write_pickled])
@pytest.mark.parametrize("first", [0, 1, COUNT // 2, COUNT - 1])
def test_cifar10_refuses_a_zeroed_tail(tmp_path, batches, write, first):
    batches["data_batch_3"][first:] = 0
    write(tmp_path / "data", batches)
    words = rf"data_batch_3(\.bin)?: got {COUNT - first} images of zeros, the first of them record {first} "
    with pytest.raises(DataError, match=words):
        cifar10(tmp_path / "data")
    cifar10(tmp_path / "data", "test")


@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_cifar10_refuses_a_hole(tmp_path, batches, write):
    """A download in pieces leaves one; the labels may have come from elsewhere."""
    batches["test_batch"][5:8, 1:] = 0
    write(tmp_path / "data", batches)
    with pytest.raises(DataError, match=r"test_batch(\.bin)?: got 3 images of zeros, the first of them record 5 "):
        cifar10(tmp_path / "data", "test")


@pytest.mark.parametrize("record", [0, 9, COUNT - 1])
@pytest.mark.parametrize("kept", [1, 1000, 2048])
def test_cifar10_refuses_a_tail_that_begins_within_an_image(tmp_path, batches, record, kept):
    batches["test_batch"].reshape(-1)[record * 3073 + 1 + kept :] = 0
    write_binary(tmp_path / "data", batches)
    words = f"got {COUNT - record} images of zeros, the first of them record {record} "
    with pytest.raises(DataError, match=words):
        cifar10(tmp_path / "data", "test")


def test_cifar10_takes_dark_images(tmp_path, batches):
    """With more zeros one after the other than any that is published has: 528 within, and 118 at its end."""
    dark = np.zeros((COUNT, 3072), np.uint8)
    dark[:, 767::768] = 1
    dark[0, 5], dark[-1, -256] = 1, 1
    batches["test_batch"][:, 1:] = dark
    write_binary(tmp_path / "data", batches)
    assert len(cifar10(tmp_path / "data", "test")) == COUNT


@pytest.mark.parametrize("place", [0, 1, 2047, 3072 * 7, 4096 * 9, COUNT * 3073 - 4096])
def test_cifar10_refuses_a_lost_page(tmp_path, batches, place):
    """Wherever it lies: of 4096 bytes one image has at least 2047."""
    batches["test_batch"].reshape(-1)[place : place + 4096] = 0
    write_binary(tmp_path / "data", batches)
    with pytest.raises(DataError, match=r"test_batch.bin: got \d images of zeros, the first of them record "):
        cifar10(tmp_path / "data", "test")


@pytest.mark.parametrize("lost", [256, 1000])
def test_cifar10_refuses_an_end_of_zeros(tmp_path, batches, lost):
    batches["test_batch"].reshape(-1)[-lost:] = 0
    write_binary(tmp_path / "data", batches)
    words = rf"got 1 images of zeros, the first of them record {COUNT - 1} .* 256 at the end of the file"
    with pytest.raises(DataError, match=words):
        cifar10(tmp_path / "data", "test")


@pytest.mark.parametrize("begin", [*range(0, 2304, 255), 2304])
def test_cifar10_finds_zeros_wherever_they_begin(begin):
    """The shortest run that is refused, beside one that is a zero shorter."""
    planes = np.ones((2, 3072), np.uint8)
    planes[0, begin : begin + 767] = planes[1, begin : begin + 768] = 0
    assert cifar._with_long_zeros(planes).tolist() == [1]


def test_cifar10_holds_published_files_to_their_checksum(tmp_path, batches, monkeypatch):
    """One bit of a pixel: of a file of the published size it is damage, of another one it is another image."""
    write_pickled(tmp_path / "py", batches, protocol=4)
    path = tmp_path / "py" / "test_batch"
    whole = path.read_bytes()
    published = {**cifar._PUBLISHED, "test_batch": (len(whole), hashlib.md5(whole).hexdigest())}
    monkeypatch.setattr(cifar, "_PUBLISHED", published)
    cifar10(tmp_path / "py", "test")
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 4
    path.write_bytes(changed)
    with pytest.raises(DataError, match=r"test_batch: got the MD5 \w{32} at the size of the published file; allowed: "):
        cifar10(tmp_path / "py", "test")
    published["test_batch"] = (len(whole) + 1, published["test_batch"][1])
    cifar10(tmp_path / "py", "test")


def test_cifar10_published_checksums():
    """As the publisher and torchvision give them; sizes as in the published archives, of the last as in mirrors."""
    assert cifar._PUBLISHED == {
        "data_batch_1": (31035704, "c99cafc152244af753f735de768cd75f"),
        "data_batch_2": (31035320, "d4bba439e000b95fd0a9bffe97cbabec"),
        "data_batch_3": (31035999, "54ebc095f3ab1f0389bbae665268c751"),
        "data_batch_4": (31035696, "634d18415352ddfa80567beed471001a"),
        "data_batch_5": (31035623, "482c414d41f54cd18b22e5b47cb7c3cb"),
        "test_batch": (31035526, "40351d587109b95175f43aff81a1287e"),
        "train": (155249918, "16019d7e3df5f24257cddd939b257f8d"),  # of CIFAR-100
        "test": (31049707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    }


def test_cifar10_takes_images_in_any_order(tmp_path, batches, recwarn):
    order = np.random.default_rng(1).permutation(COUNT)
    write_pickled(tmp_path / "py", {name: records[order] for name, records in batches.items()})
    write_binary(tmp_path / "bin", batches)
    here, there = cifar10(tmp_path / "py", "test"), cifar10(tmp_path / "bin", "test")
    np.testing.assert_array_equal(here.images, there.images[order])
    assert not recwarn.list


def test_cifar10_normalisation_and_classes_are_the_published_ones():
    assert cifar.MEAN == (0.4914, 0.4822, 0.4465)
    assert cifar.STD == (0.2470, 0.2435, 0.2616)
    assert " ".join(cifar.CLASS_NAMES) == "airplane automobile bird cat deer dog frog horse ship truck"


def test_cifar10_data_set_says_what_it_is(tmp_path, batches):
    write_binary(tmp_path / "bin", batches)
    test = cifar10(tmp_path / "bin", "test")
    assert (test.name, test.class_names, test.mean, test.std) == (
        *("cifar10/test", cifar.CLASS_NAMES),
        *(cifar.MEAN, cifar.STD),
    )


def test_default_directory_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTCONV_DATA_DIR", "~/sets")
    assert default_directory() == Path.home() / "sets"
    monkeypatch.delenv("FASTCONV_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "fastconv" / "datasets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_directory() == Path.home() / ".cache" / "fastconv" / "datasets"


@pytest.mark.slow
def test_cifar10_real_test_batch(tmp_path, shared):
    """The real test batch: balanced classes, and the published mean and deviation per channel."""
    packed = shared / "cifar10"
    raw = lzma.decompress((packed / "test_batch.bin.xz").read_bytes())
    (tmp_path / "test_batch.bin").write_bytes(raw)
    test = cifar10(tmp_path, "test")
    assert hashlib.sha256(raw).hexdigest() in (packed / "SHA256SUMS").read_text()
    assert np.bincount(test.labels).tolist() == [1000] * 10
    np.testing.assert_allclose(test.images.mean((0, 1, 2)) / 255, test.mean, atol=0.01)
    np.testing.assert_allclose(test.images.std((0, 1, 2)) / 255, test.std, atol=0.01)


def write_cifar100(root, rng, pickled):
    """Write both parts in small, and return their records: coarse label, fine label, pixels."""
    folder = root / ("cifar-100-python" if pickled else "cifar-100-binary")
    folder.mkdir(parents=True)
    parts = {}
    for name, count in (("train", 5 * COUNT), ("test", COUNT)):
        records = rng.integers(0, 256, (count, 3074), dtype=np.uint8)
        records[:, 0], records[:, 1] = rng.integers(0, 20, count), rng.integers(0, 100, count)
        parts[name] = records
        if pickled:
            batch = {b"data": records[:, 2:].copy(), b"filenames": [b"x"] * count}
            batch |= {b"coarse_labels": records[:, 0].tolist(), b"fine_labels": records[:, 1].tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, 2))
        else:
            (folder / f"{name}.bin").write_bytes(records.tobytes())
    return parts


@pytest.mark.parametrize("pickled", [False, True])
def test_cifar100_reads_both_layouts_and_both_kinds_of_labels(tmp_path, batches, rng, pickled):
    parts = write_cifar100(tmp_path, rng, pickled)
    for split in ("train", "test"):
        fine, coarse = (cifar100(tmp_path, split, labels) for labels in ("fine", "coarse"))
        assert (fine.name, len(fine.class_names), len(coarse.class_names)) == (f"cifar100/{split}", 100, 20)
        np.testing.assert_array_equal(fine.images.transpose(0, 3, 1, 2).reshape(len(fine), -1), parts[split][:, 2:])
        np.testing.assert_array_equal(coarse.labels, parts[split][:, 0])
        np.testing.assert_array_equal(fine.labels, parts[split][:, 1])


def test_cifar100_names_its_classes_in_the_order_of_the_published_ones(tmp_path, batches, rng):
    write_cifar100(tmp_path, rng, pickled=False)
    fine, coarse = (cifar100(tmp_path, "test", labels).class_names for labels in ("fine", "coarse"))
    assert list(fine) == sorted(set(fine))
    assert (fine[0], fine[52], fine[99]) == ("apple", "oak_tree", "worm")
    assert list(coarse) == sorted(set(coarse))
    assert coarse[19] == "vehicles_2"


@pytest.mark.parametrize("pickled", [False, True])
def test_cifar100_refuses_what_is_damaged(tmp_path, batches, rng, pickled):
    write_cifar100(tmp_path, rng, pickled)
    path = next(tmp_path.rglob("test*"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-3000])
    with pytest.raises(DataError, match=rf"{path}: got .*; allowed: "):
        cifar100(tmp_path, "test")
    path.write_bytes(whole)
    with pytest.raises(ArgumentError, match="labels: got 'all'; allowed: 'coarse', 'fine'"):
        cifar100(tmp_path, "test", "all")
    path.unlink()
    with pytest.raises(DataError, match=r"cifar100: .* lacks test"):
        cifar100(tmp_path, "test")


def test_cifar100_refuses_a_zeroed_tail_but_no_black_image_before(tmp_path, batches, rng):
    records = write_cifar100(tmp_path, rng, pickled=False)["test"]
    path = tmp_path / "cifar-100-binary" / "test.bin"
    records[3, 2:] = 0
    path.write_bytes(records.tobytes())
    assert len(cifar100(tmp_path, "test")) == COUNT
    records[-2:] = 0
    path.write_bytes(records.tobytes())
    with pytest.raises(DataError, match=r"test.bin: got 3 images of zeros, the first of them record 3 "):
        cifar100(tmp_path, "test")
