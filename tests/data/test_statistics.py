"""Mean and deviation of images against NumPy's."""

import numpy as np
import pytest

from fastconv.data import statistics


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
