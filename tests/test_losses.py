"""Losses: values by hand, gradients, bad input."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.testing import gradcheck


def test_value_by_hand(backend):
    """Logits 0 and log 3 are the probabilities 1/4 and 3/4."""
    logits = fc.asarray(np.array([[0.0, math.log(3)], [0.0, math.log(3)]]))
    loss, grad = SoftmaxCrossEntropy()(logits, fc.asarray(np.array([0, 1], np.int32)))
    assert fc.to_numpy(loss).shape == ()
    assert float(loss) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-14)
    np.testing.assert_allclose(fc.to_numpy(grad), [[-0.375, 0.375], [0.125, -0.125]], rtol=1e-13)
    smooth, _ = SoftmaxCrossEntropy(0.5)(logits, fc.asarray(np.array([0, 1], np.int32)))
    assert float(smooth) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-14)  # the same, by symmetry


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient(backend, rng, smoothing):
    loss, labels = SoftmaxCrossEntropy(smoothing), fc.asarray(np.array([0, 3, 1, 2, 2], np.int32))

    def function(logits):
        value, grad = loss(logits, labels)
        return value, lambda scale: fc.asarray(fc.to_numpy(grad) * fc.to_numpy(scale))

    gradcheck(function, rng.standard_normal((5, 4)))


def test_integer_labels_of_any_width(backend, rng):
    logits = fc.asarray(rng.standard_normal((3, 4)))
    want = float(SoftmaxCrossEntropy()(logits, fc.asarray(np.array([3, 0, 1], np.int32)))[0])
    for dtype in (np.uint8, np.int64):
        assert float(SoftmaxCrossEntropy()(logits, fc.asarray(np.array([3, 0, 1], dtype)))[0]) == want


def test_no_images(backend):
    loss, grad = SoftmaxCrossEntropy()(fc.asarray(np.zeros((0, 3))), fc.asarray(np.zeros(0, np.int32)))
    assert float(loss) == 0.0
    assert grad.shape == (0, 3)


@pytest.mark.parametrize(
    ("logits", "labels", "error"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), ArgumentError),
        (np.zeros((2, 3)), np.array([-1, 0]), ArgumentError),
        (np.zeros((2, 3)), np.array([2**32, 0]), ArgumentError),
        (np.zeros((2, 3)), np.array([0, 1, 2]), ShapeError),
        (np.zeros((2, 3)), np.array([[0], [1]]), ShapeError),
        (np.zeros((2, 3)), np.array([0.0, 1.0]), DTypeError),
        (np.zeros(3), np.array([0]), ShapeError),
        (np.zeros((2, 0)), np.array([0, 0]), ShapeError),
        (np.zeros((2, 3), np.int64), np.array([0, 1]), DTypeError),
    ],
)
def test_refuses(backend, logits, labels, error):
    with pytest.raises(error, match=r"(labels|logits): got"):
        SoftmaxCrossEntropy()(fc.asarray(logits), fc.asarray(labels))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, "much", float("nan")])
def test_refuses_smoothing(smoothing):
    with pytest.raises(ArgumentError, match="label_smoothing"):
        SoftmaxCrossEntropy(smoothing)
