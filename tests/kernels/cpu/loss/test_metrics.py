"""Counts of right classes, where logits are equal or no numbers."""

import numpy as np
import pytest

from fastconv.kernels.cpu.loss.metrics import count_confusions, count_correct

NAN = np.nan
LOGITS = np.array([[1, 1, 0], [0, 2, 2], [NAN, 5, 1], [3, NAN, NAN], [-1, -2, -3]], np.float32)


@pytest.mark.parametrize(
    ("labels", "places"), [([0, 1, 0, 1, 0], [0] * 5), ([1, 2, 1, 2, 1], [1] * 5), ([2, 0, 2, 0, 2], [2] * 5)]
)
def test_the_first_of_ties_comes_before_and_nan_before_all(labels, places):
    for top in (1, 2, 3):
        out = np.array([100, 10])
        count_correct(LOGITS, np.array(labels, np.int32), top=top, out=out)
        assert out.tolist() == [100 + sum(place < top for place in places), 15]


def test_labels_that_are_no_class_are_left_out():
    labels = np.array([0, -100, 3, 2**31 - 1, 1], np.int32)
    out, matrix = np.zeros(2, np.int64), np.zeros((3, 3), np.int64)
    count_correct(LOGITS, labels, top=1, out=out)
    count_confusions(LOGITS, labels, out=matrix)
    assert out.tolist() == [1, 2]
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
