"""Writing a file: all of it or nothing, and on the disk with its name."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from fastconv._files import write_atomically, writing
from fastconv.data import generated
from fastconv.errors import DataError, OutputError


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


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="missing"):
        write_atomically(tmp_path / "missing" / "file", b"new")
    assert os.listdir(tmp_path) == []


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


def test_what_cannot_be_written_is_named_once(tmp_path):
    """Of an argument within another one, such as weights in the folder of a callback, the outer one."""
    with (
        pytest.raises(
            OutputError, match=r"^folder: got 'out', which could not be written \(No such file or d"
        ) as caught,
        writing("folder", "out"),
        writing("path", tmp_path / "missing" / "file"),
    ):
        write_atomically(tmp_path / "missing" / "file", b"new")
    assert "path" not in str(caught.value)
