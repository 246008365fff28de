"""Writing a file: all of it or nothing, and on the disk with its name."""

from __future__ import annotations

import os
import stat

import pytest

from fastconv._files import write_atomically


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
