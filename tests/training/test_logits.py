"""What a network puts out for a set of images."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import shapes10
from fastconv.errors import DataError
from fastconv.training.logits import compute_logits, most_confused


def test_logits_are_of_normalised_images_in_their_order():
    data = shapes10("test", size=7)
    about = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    with fc.use_backend("numpy"):
        model = fc.models.lenet5()
        logits = compute_logits(model, data, 3, about)
        x = (data.images / 255 - np.array(about["mean"])) / np.array(about["std"])
        np.testing.assert_allclose(logits, model(x.astype(np.float32)), rtol=1e-4, atol=1e-5)


def test_no_images_have_no_logits():
    with fc.use_backend("numpy"), pytest.raises(DataError, match="got no images in shapes10/test"):
        compute_logits(fc.models.lenet5(), shapes10("test", size=3).take(slice(0)), 3, {})


def test_most_confused_come_first():
    assert most_confused(np.array([[5, 2, 0], [3, 1, 0], [0, 4, 9]])) == [(2, 1), (1, 0), (0, 1)]
    assert len(most_confused(np.ones((5, 5), np.int64))) == 10
