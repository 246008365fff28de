"""Windows that are erased, and that are mixed in."""

import math

import numpy as np
import pytest

from fastconv.data import CutMix, Cutout, Mixup, RandomErasing
from fastconv.data.draws import Draws
from fastconv.errors import ArgumentError
from tests.data.test_augmentations import COUNT, assert_even, drawn

SIDES = ("top", "bottom", "left", "right")


def window(changes, kind):
    return [np.asarray(changes[f"{kind}_{side}"]) for side in SIDES]


def test_cutout_is_a_square_around_any_pixel():
    top, bottom, left, right = window(drawn(Cutout(6), (8, 10, 3)), "erase")
    assert (top.min(), bottom.max(), left.min(), right.max()) == (0, 8, 0, 10)
    assert ((bottom - top <= 6) & (right - left <= 6) & (bottom > top)).all()
    centre = np.where(top > 0, top + 3, bottom - 3)  # what was cut off tells
    assert_even(centre, range(8))
    odd = window(drawn(Cutout(1), (8, 10, 3)), "erase")
    assert (odd[1] - odd[0] == 1).all()
    assert_even(odd[2], range(10))
    assert drawn(Cutout(3, value=-1.5))["erase_value"] == -1.5


def test_erasing_takes_shares_ratios_and_places_as_told():
    top, bottom, left, right = window(drawn(RandomErasing(0.7, (0.1, 0.2), (0.5, 2.0)), (100, 100, 3)), "erase")
    height, width = bottom - top, right - left
    erased = height > 0
    assert abs(erased.mean() - 0.7) < 5 * math.sqrt(0.7 * 0.3 / COUNT)
    assert ((width > 0) == erased).all()
    height, width, top, left = height[erased], width[erased], top[erased], left[erased]
    assert 0.09 < (height * width / 1e4).min() < 0.11 < 0.19 < (height * width / 1e4).max() < 0.21
    assert 0.48 < (height / width).min() < 0.53 < 1.9 < (height / width).max() < 2.1
    assert abs((height > width).mean() - 0.5) < 0.05
    assert (bottom.max(), right.max(), top.min(), left.min()) == (100, 100, 0, 0)
    assert abs((top / (100 - height)).mean() - 0.5) < 0.02
    assert abs((left / (100 - width)).mean() - 0.5) < 0.02


def test_no_attempt_may_fit():
    for shape in ((1, 1, 3), (3, 1, 1)):
        top, bottom, left, right = window(drawn(RandomErasing(1.0, (0.9, 1.0)), shape), "erase")
        assert ((bottom - top) * (right - left) == 0).all()
    top, bottom, left, right = window(drawn(RandomErasing(1.0, (0.5, 0.9)), (4, 5, 3)), "erase")
    assert ((bottom - top).max(), (right - left).max()) == (3, 4)
    changes = drawn(RandomErasing(1.0, (0.5, 0.9), (0.3, 3.3)), (32, 32, 3))
    top, bottom, *_ = window(changes, "erase")
    assert (bottom > top).mean() > 0.9  # ten attempts mostly have one, each in a third of cases


def batches(mixing, count=2000, shape=(16, 12, 3)):
    return [mixing.columns(Draws(1, 0, batch, np.arange(4), 6), shape) for batch in range(count)]


def test_mixup_mixes_whole_images_with_the_one_before():
    changes = batches(Mixup(0.4))
    shares = np.array([change["mix_share"] for change in changes])
    assert abs(shares.mean() - 0.5) < 0.05
    assert abs(shares.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01  # of Beta(a, a)
    assert changes[0]["partner"].tolist() == [3, 0, 1, 2]
    assert (changes[0]["mix_bottom"], changes[0]["mix_right"]) == (16, 12)


def test_cutmix_windows_are_those_of_the_paper():
    changes = batches(CutMix())
    top, bottom, left, right = (np.array([change[f"mix_{side}"] for change in changes]) for side in SIDES)
    assert (top.min(), bottom.max(), left.min(), right.max()) == (0, 16, 0, 12)
    assert {change["mix_share"] for change in changes} == {0.0}
    # Of a window that was not cut off, height by width is that of the image; its share is even, alpha being 1.
    inside = (top > 0) & (bottom < 16) & (left > 0) & (right < 12)
    assert np.abs((bottom - top) / 16 - (right - left) / 12)[inside].max() < 2 / 12
    shares = np.array([Draws(1, 0, batch, np.arange(4), 6).beta(1.0) for batch in range(len(changes))])
    sides = np.floor(np.sqrt(1 - shares)[:, None] / 2 * [16, 12]) * 2
    np.testing.assert_array_equal((bottom - top)[inside], sides[inside, 0])
    np.testing.assert_array_equal((right - left)[inside], sides[inside, 1])
    again = batches(CutMix(), 3)
    assert [{**change, "partner": 0} for change in again] == [{**change, "partner": 0} for change in changes[:3]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cutout(0), "length: got 0"),
        (lambda: Cutout(value=math.nan), "value: got nan"),
        (lambda: RandomErasing(-1), "p: got -1"),
        (lambda: RandomErasing(scale=(0.5, 1.5)), r"scale: got \(0.5, 1.5\); allowed: numbers from 0 to 1"),
        (lambda: RandomErasing(scale=0), "scale: got 0; allowed: a pair of numbers"),
        (lambda: RandomErasing(ratio=(0, 1)), r"ratio: got \(0, 1\); allowed: a pair of numbers above 0"),
        (lambda: RandomErasing(ratio=(2, 1)), r"ratio: got \(2, 1\)"),
        (lambda: Mixup(0), "alpha: got 0"),
        (lambda: CutMix(num_classes=0), "num_classes: got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()
