"""Sizes of caches as Linux tells them, and where it does not."""

from pathlib import Path

import pytest

pytest.importorskip("numba")
from fastconv.kernels.cpu.runtime.cpu_caches import CACHES, Caches, read_caches


def _write(directory: Path, index: int, level: str, kind: str, size: str) -> None:
    place = directory / f"index{index}"
    place.mkdir()
    for name, text in (("level", level), ("type", kind), ("size", size)):
        (place / name).write_text(text + "\n")


def test_sizes_are_those_of_the_data_caches(tmp_path: Path) -> None:
    _write(tmp_path, 0, "1", "Data", "48K")
    _write(tmp_path, 1, "1", "Instruction", "64K")
    _write(tmp_path, 2, "2", "Unified", "2048K")
    _write(tmp_path, 3, "3", "Unified", "105M")
    assert read_caches(tmp_path) == Caches(48 * 1024, 2048 * 1024, 105 * 1024**2)


def test_what_is_not_told_is_assumed(tmp_path: Path) -> None:
    _write(tmp_path, 0, "1", "Data", "")
    _write(tmp_path, 1, "2", "Unified", "0K")
    _write(tmp_path, 2, "4", "Unified", "64M")
    (tmp_path / "index3").mkdir()
    assert read_caches(tmp_path) == Caches()
    assert read_caches(tmp_path / "absent") == Caches()


def test_this_host_has_caches_that_grow() -> None:
    assert 0 < CACHES.level1 < CACHES.level2 <= CACHES.level3
