"""shapes10: what it holds, that it is the same everywhere, and how hard it is."""

import hashlib

import numpy as np
import pytest

from fastconv.data import shapes10
from fastconv.errors import ArgumentError


def test_shapes10_has_the_stated_form():
    data = shapes10("test", size=37)
    assert data.images.shape == (37, 32, 32, 3)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int32
    assert data.labels.tolist() == [i % 10 for i in range(37)]
    assert len(data.class_names) == 10
    assert (len(shapes10()), len(shapes10("test"))) == (10_000, 2_000)


@pytest.mark.parametrize(
    ("split", "seed", "digest"),
    [
        ("train", 0, "c17f8a3a78f1957abd291ad86ec4720e15a1ac26777c65e9384d7819c9b65a8d"),
        ("test", 1, "202dc05ab298fefb9582a42f83c4f4f923e76b453892da6f11e0fade95fce91e"),
    ],
)
def test_shapes10_draws_the_same_pixels_everywhere(split, seed, digest):
    assert hashlib.sha256(shapes10(split, seed, 640).images.tobytes()).hexdigest() == digest


def test_shapes10_first_images_do_not_depend_on_size():
    np.testing.assert_array_equal(shapes10(size=1000).images[:330], shapes10(size=330).images)


def test_shapes10_seeds_and_splits_share_no_image():
    sets = [shapes10("train", 0, 500), shapes10("train", 1, 500), shapes10("test", 0, 500)]
    assert len({image.tobytes() for data in sets for image in data.images}) == 1500


def test_shapes10_normalisation_is_that_of_the_training_images():
    data = shapes10(size=2000)
    scaled = data.images / 255
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), data.mean, atol=0.01)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), data.std, atol=0.01)


def test_shapes10_shape_stands_out_from_its_ground():
    """A figure that left the image or vanished in the noise could not be told from others."""
    images = shapes10(size=1000).images.astype(np.float64).mean(3)
    smooth = images[:, 8:24, 8:24].reshape(1000, 8, 2, 8, 2).mean((2, 4))
    assert (np.ptp(smooth, axis=(1, 2)) > 12).all()


def test_shapes10_says_what_it_is():
    data = shapes10("test", size=1)
    assert data.name == "shapes10/test"
    assert data.mean == (0.329, 0.329, 0.329)
    assert data.std == (0.182, 0.182, 0.182)
    assert " ".join(data.class_names) == "circle ring square triangle cross star crescent heart pill stripes"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("both",), "split"),
        *((("train", 0, size), "size") for size in (-1, 1.5, "ten", 10**20)),
        *((("train", seed), "seed") for seed in (-1, 2**64, 0.5)),
    ],
)
def test_shapes10_rejects_bad_arguments(arguments, name):
    with pytest.raises(ArgumentError, match=f"^{name}: got .*allowed: "):
        shapes10(*arguments)


@pytest.mark.slow
def test_shapes10_defeats_a_linear_model():
    """Softmax regression on the pixels, trained until it fits its training images, stays under 60 % on others."""
    train, test = shapes10(size=4000), shapes10("test", size=1000)
    x, x_test = (((data.images / 255 - train.mean) / train.std).reshape(len(data), -1) for data in (train, test))
    weight, bias = np.zeros((x.shape[1], 10)), np.zeros(10)
    mean_weight = np.zeros_like(weight)
    random = np.random.default_rng(0)
    for epoch in range(30):
        for indices in random.permutation(len(x)).reshape(-1, 100):
            logits = x[indices] @ weight + bias
            grad = np.exp(logits - logits.max(1, keepdims=True))
            grad /= grad.sum(1, keepdims=True)
            grad[np.arange(100), train.labels[indices]] -= 1
            weight -= 2e-3 / (1 + epoch) * (x[indices].T @ grad / 100)
            bias -= 0.1 * grad.mean(0)
        mean_weight += weight / 30
    fitted = ((x @ weight + bias).argmax(1) == train.labels).mean()
    accuracy = max(((x_test @ w + bias).argmax(1) == test.labels).mean() for w in (weight, mean_weight))
    assert fitted > 0.3, "the model was not trained"
    assert 0.15 < accuracy < 0.6
