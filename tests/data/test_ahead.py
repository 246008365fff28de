"""Rows read one batch ahead: the same rows, in another thread, no more than one batch ahead."""

import threading

import numpy as np
import pytest

from fastconv.data import DataLoader, FlipCrop, arrays
from fastconv.data._ahead import rows_ahead


@pytest.fixture
def mapped(tmp_path, rng):
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8))
    return arrays(tmp_path / "x.npy", np.arange(50) % 3)


def test_rows_come_in_order_and_one_batch_ahead(rng):
    array = rng.integers(0, 9, (10, 2))
    asked = []

    def pieces():
        for number in range(4):
            asked.append(number)
            yield np.array([number, 9 - number])

    for number, rows in enumerate(rows_ahead(array, pieces())):
        np.testing.assert_array_equal(rows, array[[number, 9 - number]])
        assert len(asked) == min(number + 2, 4)
    assert list(rows_ahead(array, [])) == []


def test_an_error_of_reading_arrives(rng):
    with pytest.raises(IndexError):
        list(rows_ahead(np.zeros((3, 1)), [np.array([0]), np.array([5])]))


@pytest.mark.parametrize("settings", [{}, {"augmentation": FlipCrop()}, {"drop_last": True}, {"sampling": "balanced"}])
def test_mapped_images_give_the_bits_of_images_in_memory(backend, mapped, settings):
    import dataclasses

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


def test_the_thread_ends_with_the_loop(mapped):
    before = threading.active_count()
    for _ in DataLoader(mapped, 16):
        break
    assert threading.active_count() == before


def test_parts_that_are_slices_stay_on_the_disk(mapped):
    assert isinstance(mapped.take(slice(3, 9)).images, np.memmap)
    assert not isinstance(mapped.take(np.array([3, 9])).images, np.memmap)
