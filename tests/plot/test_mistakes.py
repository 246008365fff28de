"""The numbers behind the images that a classifier gets most wrong."""

import numpy as np
import pytest

from fastconv import plot
from fastconv.errors import ArgumentError, ShapeError

IMAGES = np.arange(4 * 3 * 3).reshape(4, 3, 3).astype(float)
IMAGES[:, 0, 0] += [0, 50, 100, 150]  # so that none is like another when stretched
LABELS = np.array([0, 1, 1, 0])
LOGITS = np.log([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.05, 0.95]])


def test_the_worst_come_first():
    figure = plot.mistakes(IMAGES, LABELS, LOGITS + 1000, ["cat", "dog"], count=3)
    counts, *worst = figure.axes
    assert [text.get_text() for text in counts.texts] == ["1", "1", "1", "1"]
    assert [label.get_text() for label in counts.get_yticklabels()] == ["cat", "dog"]
    assert [ax.get_title() for ax in worst if ax.images] == ["cat as dog, 95%", "dog as cat, 80%", "dog as dog, 60%"]
    for ax, number in zip(worst, (3, 1, 2), strict=False):
        want = (IMAGES[number] - IMAGES[number].min()) / np.ptp(IMAGES[number])
        np.testing.assert_allclose(ax.images[0].get_array(), want)
    figure = plot.mistakes(IMAGES[..., None], LABELS, LOGITS)
    assert len([ax for ax in figure.axes[1:] if ax.images]) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((IMAGES[:0], LABELS[:0], LOGITS[:0]), r"images: got shape \(0, 3, 3\); allowed: 3 or 4 axes, and something"),
        ((IMAGES, LABELS[:3], LOGITS), r"labels: got shape \(3,\); allowed: one for each of the 4 images"),
        ((IMAGES, LABELS, LOGITS[:3]), r"logits: got shape \(3, 2\); allowed: one for each of the 4 images"),
        ((IMAGES, LABELS + 1, LOGITS), "labels: got int64 from 1 to 2; allowed: 0 to 1"),
        ((IMAGES, LABELS, LOGITS, ["cat"]), "counts: got shape"),
    ],
)
def test_refuses(given, message):
    with pytest.raises(ShapeError, match=message):
        plot.mistakes(*given)


def test_refuses_none_of_the_worst():
    with pytest.raises(ArgumentError, match="count: got 0"):
        plot.mistakes(IMAGES, LABELS, LOGITS, count=0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_refuses_logits_without_a_softmax(wrong):
    logits = LOGITS.copy()
    logits[2, 1] = wrong
    with pytest.raises(ArgumentError, match=f"logits: got {wrong} for image 2; allowed: a finite highest one for each"):
        plot.mistakes(IMAGES, LABELS, logits)


def test_a_class_that_is_ruled_out_has_a_probability():
    figure = plot.mistakes(IMAGES, LABELS, np.where(np.eye(2)[1 - LABELS] > 0, 0.0, -np.inf), count=1)
    assert figure.axes[1].get_title() == "0 as 1, 100%"
