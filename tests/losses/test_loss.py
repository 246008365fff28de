"""Losses of somebody's own: what they may return."""

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.losses import loss_and_grad

ONES = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("value", [None, "1.5", "x", np.array(None), [None]])
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(ArgumentError, match=r"^loss: got .* from .*; allowed: a number, or a \(\) array"):
        loss_and_grad(lambda p, t: (value, p - t), ONES, ONES)


@pytest.mark.parametrize("result", [None, 1.0, (1.0,), (1.0, ONES, 2)])
def test_what_is_no_pair_is_refused(result):
    with pytest.raises(ArgumentError, match=r"^loss: got \w+ from .*; allowed: a pair, the loss and its gradient"):
        loss_and_grad(lambda p, t: result, ONES, ONES)


@pytest.mark.parametrize("value", [1.5, np.float64(1.5), np.array([1.5]), np.array(1.5, np.float16)])
def test_numbers_become_an_array_of_the_type_of_the_predictions(value):
    got, grad = loss_and_grad(lambda p, t: (value, p - t), ONES, ONES)
    assert (got.shape, got.dtype, float(got)) == ((), np.float32, 1.5)
    assert not grad.any()


@pytest.mark.parametrize("loss", ["mse", None])
def test_what_cannot_be_called_is_no_loss(loss):
    with pytest.raises(ArgumentError, match=r"^loss: got ('mse'|None); allowed: one of fastconv.losses, such as Mean"):
        loss_and_grad(loss, ONES, ONES)
