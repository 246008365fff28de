"""Writing a file: all of it or nothing, and on the disk with its name."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

import fastconv as fc
from fastconv._files import reason, write_atomically, writing
from fastconv.data import generated
from fastconv.errors import ArgumentError, DataError, FastconvError, OutputError
from fastconv.training.diagnostics import ChromeTrace


def test_content_then_name_then_directory_are_brought_to_the_disk(tmp_path, monkeypatch):
    """In that order: a name that came to the disk before its content would be of an empty file after a power cut."""
    events = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        events.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        if events[-1] == "file":
            assert os.fstat(descriptor).st_size == 5
        else:
            assert os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))
        fsync(descriptor)

    def renamed(source, target):
        events.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomically(tmp_path / "file", b"12345")
    assert events == ["file", "name", "directory"]
    assert (tmp_path / "file").read_bytes() == b"12345"
    write_atomically(str(tmp_path / "file"), b"abcde")
    assert (tmp_path / "file").read_bytes() == b"abcde"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, MemoryError])
def test_whatever_happens_the_old_file_stays(tmp_path, monkeypatch, failing, error):
    (tmp_path / "file").write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_who_may_read_a_file_is_who_might_before(tmp_path):
    """A new one is of the umask; one that was there keeps its mode, in data sets that are written as they come too."""
    image = np.zeros((2, 2), np.uint8)
    writes = {
        "weights": lambda path: write_atomically(path, b"new"),
        "rows.npy": lambda path: generated([(image, 0)], file=path),
    }
    usual = os.umask(0o022)
    try:
        for name, write in writes.items():
            path = tmp_path / name
            write(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
            path.chmod(0o600)
            write(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(usual)


def _pruned():
    model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,))
    model.layers[0].weight.data = np.zeros((3, 2), np.float32)
    return model


def _trainer():
    model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,))
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1))


# What writes a file whose path a user names, and what it calls that argument.
_WRITES = {
    "write_atomically": (lambda path: write_atomically(path, b"new"), "path"),
    "save_weights": (lambda path: _pruned().save_weights(path), "path"),
    "save_weights-sparse": (lambda path: _pruned().save_weights(path, sparse=True), "path"),
    "export_pruned": (lambda path: fc.models.export_pruned(_pruned(), path), "path"),
    "Trainer.save": (lambda path: _trainer().save(path), "path"),
    "History.save": (lambda path: fc.training.History().save(path), "path"),
    "ChromeTrace.save": (lambda path: ChromeTrace("numpy", ()).save(path), "path"),
    "Timeline.save": (lambda path: fc.parallel.Timeline().save(path), "path"),
    "Report.save": (lambda path: fc.report.Report("").save(path), "output"),
    "generated": (lambda path: fc.data.generated([(np.zeros((2, 2, 1), np.uint8), 0)], file=path), "file"),
}


@pytest.mark.parametrize("name", _WRITES)
@pytest.mark.parametrize("place", ["missing/file", "folder", "file/inside"])
def test_a_place_that_cannot_be_written_is_told_by_the_name_of_the_argument(tmp_path, name, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    write, argument = _WRITES[name]
    with fc.use_backend("numpy"), pytest.raises(FastconvError) as caught:
        write(tmp_path / place)
    message = str(caught.value)
    assert message.startswith(f"{argument}: got ")
    assert str(tmp_path / place) in message
    assert "; allowed: " in message
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []
    assert (tmp_path / "file").read_bytes() == b"old"


_IMAGES = np.zeros((1, 2, 2, 1), np.uint8)
# What reads a file or a folder whose path a user names, and what it calls that argument.
_READS = {
    "load_weights": (lambda path: _pruned().load_weights(path), "path"),
    "Trainer.restore": (lambda path: _trainer().restore(path), "path"),
    "models.load": (lambda path: fc.models.load("lenet5", weights=path), "weights"),
    "History.load": (fc.training.History.load, "path"),
    "make_report": (fc.report.make_report, "runs"),
    "npz": (fc.data.npz, "path"),
    "read_idx": (fc.data.read_idx, "path"),
    "read_image": (fc.data.read_image, "path"),
    "image_folder": (fc.data.image_folder, "directory"),
    "image_folder-split": (lambda path: fc.data.image_folder(".", path), "split"),
    "cifar10": (fc.data.cifar10, "directory"),
    "cifar100": (fc.data.cifar100, "directory"),
    "mnist": (fc.data.mnist, "directory"),
    "fashion_mnist": (fc.data.fashion_mnist, "directory"),
    "ShardFiles": (lambda path: fc.data.ShardFiles([(path, "y.npy")], 1, mean=(0.5,), std=(0.5,)), "files"),
}
_LEFT_OUT = ("image_folder-split", "cifar10", "cifar100", "mnist", "fashion_mnist")  # may be None


@pytest.mark.parametrize("name", _WRITES)
def test_what_is_written_may_lie_in_the_folder_of_a_user(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with fc.use_backend("numpy"):
        _WRITES[name][0]("~/file")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", sorted(set(_READS) - {"image_folder-split"}))
def test_what_is_read_may_lie_in_the_folder_of_a_user(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").write_bytes(b"neither weights nor data")
    said = []
    for path in ("~/file", str(tmp_path / "file")):
        with fc.use_backend("numpy"), pytest.raises(FastconvError) as caught:
            _READS[name][0](path)
        said.append(str(caught.value).replace("~", str(tmp_path)))
    assert said[0] == said[1]
    assert "No such file" not in said[0]


@pytest.mark.parametrize("path", [None, 0, True, b"bytes", "", "a\0b", "\ud800"], ids=repr)
@pytest.mark.parametrize("name", [*_READS, *_WRITES])
def test_what_is_no_path_is_told_by_the_name_of_the_argument(name, path):
    if path is None and name in (*_LEFT_OUT, "generated"):
        return
    use, argument = (_READS | _WRITES)[name]
    with fc.use_backend("numpy"), pytest.raises(ArgumentError) as caught:
        use(path)
    assert str(caught.value) == f"{argument}: got {path!r}; allowed: a path"


@pytest.mark.parametrize("path", [0, b"bytes", "", "a\0b"], ids=repr)
def test_arrays_takes_paths_and_arrays_alone(path):
    for values, name in (((path, [0]), "images"), ((_IMAGES, path), "labels")):
        with pytest.raises(FastconvError, match=f"^{name}: got "):
            fc.data.arrays(*values)


@pytest.mark.parametrize("name", [*_READS, *(name for name in _WRITES if name not in ("write_atomically",))])
def test_a_name_too_long_for_the_system_is_an_error_of_ours(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use, _ = (_READS | _WRITES)[name]
    with fc.use_backend("numpy"), pytest.raises(FastconvError, match="x" * 300):
        use("x" * 300)


def test_the_folder_of_nobody_is_one_that_is_not_there():
    with pytest.raises(DataError, match=r"~nobody-of-that-name"):
        fc.data.image_folder("~nobody-of-that-name")
    with pytest.raises(DataError, match=r"no batches in ~nobody-of-that-name"):
        fc.data.cifar10("~nobody-of-that-name")


@pytest.mark.parametrize("name", _WRITES)
def test_a_link_to_itself_is_no_place_to_write(name, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    write, argument = _WRITES[name]
    with fc.use_backend("numpy"), pytest.raises(FastconvError, match=rf"^{argument}: got .*loop.*symbolic links"):
        write(tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()
    assert os.listdir(tmp_path) == ["loop"]


def test_who_asked_for_a_file_names_its_own_argument(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(OutputError) as caught, writing("directory", tmp_path):
        write_atomically(path, b"new")
    assert str(caught.value).startswith(f"directory: got '{tmp_path}', which could not be written (No such file or ")
    assert isinstance(caught.value, OSError)
    assert reason(OSError("why")) == reason(OutputError("why")) == "why"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_nothing_takes_the_place_of_a_device(tmp_path):
    """As root, a file saved as /dev/null would be one from then on, for the whole system."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="a device or a pipe"):
            write_atomically(tmp_path / name, b"new")
        with pytest.raises(DataError, match="a device or a pipe"):
            generated([(np.zeros((1, 1, 3), np.uint8), 0)], file=tmp_path / name)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]
