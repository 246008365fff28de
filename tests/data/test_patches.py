"""Whitening of patches: what it does to their covariance."""

import numpy as np
import pytest

from fastconv.data import shapes10, whitening
from fastconv.errors import ArgumentError, DTypeError, ShapeError


def patches_of(images, height, width):
    """Return the patches, one by one."""
    return np.array(
        [
            image[y : y + height, x : x + width].ravel()
            for image in images
            for y in range(image.shape[0] - height + 1)
            for x in range(image.shape[1] - width + 1)
        ]
    )


@pytest.fixture
def images(rng):
    return rng.standard_normal((5, 6, 7, 3)) @ rng.standard_normal((3, 3)) + 0.3


@pytest.mark.parametrize("size", [2, (1, 1), (3, 2), (6, 7)])
def test_patches_become_white(images, size):
    found = whitening(images, size, eps=0)
    height, width = (size, size) if isinstance(size, int) else size
    patches = patches_of(images, height, width)
    np.testing.assert_allclose(found.covariance, patches.T @ patches / len(patches), atol=1e-12)
    vectors, values = found.eigenvectors, found.eigenvalues
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(values)), atol=1e-10)
    np.testing.assert_allclose(vectors.T * values @ vectors, found.covariance, atol=1e-10)
    assert (np.diff(values) <= 0).all()
    if len(patches) > len(values):
        for matrix in (found.matrix, found.zca):
            np.testing.assert_allclose(matrix @ found.covariance @ matrix.T, np.eye(len(values)), atol=1e-6)


def test_eps_and_weight_are_those_of_the_definition(images):
    found = whitening(images.astype(np.float32), 2, eps=0.25)
    values, vectors = np.linalg.eigh(found.covariance)
    want = vectors.T[::-1] / np.sqrt(values[::-1] + 0.25)[:, None]
    np.testing.assert_allclose(np.abs(found.matrix), np.abs(want), atol=1e-9)
    assert found.weight.shape == (2, 2, 3, 24)
    filters = found.weight.reshape(12, 24).T
    np.testing.assert_array_equal(filters[:12], found.matrix)
    np.testing.assert_array_equal(filters[12:], -found.matrix)
    np.testing.assert_allclose(found.zca, found.zca.T, atol=1e-12)


def test_bytes_count_as_shares_of_255():
    data = shapes10(size=20).images
    np.testing.assert_allclose(whitening(data).covariance, whitening(data / 255).covariance, rtol=1e-12)


def test_many_images_in_pieces_are_the_same(images, monkeypatch):
    whole = whitening(images).covariance
    monkeypatch.setattr("fastconv.data.patches._PIECE", 1)
    np.testing.assert_allclose(whitening(images).covariance, whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((2, 3, 3)),), ShapeError, "images: got shape"),
        ((np.zeros((0, 3, 3, 1)),), ShapeError, "images: got shape"),
        ((np.zeros((1, 3, 3, 1)), 4), ShapeError, "images: got shape .* 4 x 4 pixels or more"),
        ((np.zeros((1, 3, 3, 1), int),), DTypeError, "images: got int64"),
        ((np.full((1, 3, 3, 1), np.nan),), ArgumentError, "images: got a value that is not finite"),
        ((np.zeros((1, 3, 3, 1)), 0), ShapeError, "kernel_size: got"),
    ],
)
def test_what_cannot_be_whitened_is_refused(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        whitening(*arguments)
    with pytest.raises(ArgumentError, match=r"^eps: got -1"):
        whitening(np.ones((1, 3, 3, 1)), eps=-1)


def test_bytes_of_numbers_may_come_in_either_order(rng):
    images = rng.standard_normal((4, 5, 5, 2)).astype(np.float32)
    want, got = whitening(images, 2), whitening(images.astype(">f4"), 2)
    np.testing.assert_array_equal(got.covariance, want.covariance)
