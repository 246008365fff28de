"""Mean and deviation of images against NumPy's."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import statistics
from fastconv.errors import ArgumentError, DataError


@pytest.mark.parametrize("piece", [1, 100, 2**26])
def test_statistics_are_those_of_numpy(rng, monkeypatch, piece):
    monkeypatch.setattr(statistics, "_PIECE", piece)
    images = rng.integers(0, 200, (7, 4, 5, 3), dtype=np.uint8)
    mean, std = statistics.channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-13)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-13)


def test_a_channel_of_one_value_can_be_divided_by():
    images = np.full((3, 2, 2, 1), 51, np.uint8)
    assert statistics.channel_statistics(images) == ((pytest.approx(0.2),), (1.0,))


def test_no_images_have_numbers_too():
    assert statistics.channel_statistics(np.zeros((0, 2, 2, 2), np.uint8)) == ((0.0, 0.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("numbers", "name"),
    [(((127, 127), (1, 1)), "mean"), (((0, -0.1), (1, 1)), "mean"), (((0.5, 0.5), (64, 64)), "std")],
)
def test_numbers_in_units_of_bytes_are_refused_with_what_to_do(numbers, name):
    images, labels, (mean, std) = np.zeros((3, 2, 2, 2), np.uint8), np.zeros(3, np.int32), numbers
    words = rf"^{name}: got \(.*\); allowed: numbers from 0 to 1, .* \(of values from 0 to 255, divide by 255\)$"
    with pytest.raises(DataError, match=words):
        fc.data.arrays(images, labels, mean=mean, std=std)
    with pytest.raises(ArgumentError, match=words):
        fc.data.DataLoader((images, labels), mean=mean, std=std)
    floating = fc.data.DataLoader((images.astype(np.float32), labels), mean=mean, std=std)  # in units of their own
    assert (floating.mean, floating.std) == numbers


def test_the_ends_of_the_range_are_in_it():
    fc.data.DataLoader((np.zeros((3, 2, 2, 2), np.uint8), np.zeros(3)), mean=(0, 1), std=(1, 1 / 255))
