"""What follows, as an argument of kernels: one type for each function, whatever its parameters."""

from __future__ import annotations

import pickle

import numba
import numpy as np
import pytest

from fastconv.kernels.cpu.elementwise.following import following, is_aligned
from fastconv.kernels.pointwise import POINTWISE, RELU

OTHERS = [function for function in POINTWISE.values() if function() != RELU]


def test_none_and_the_rectifier_are_numbers_of_one_type() -> None:
    assert (following(None), following(RELU)) == (-np.inf, 0.0)


@pytest.mark.parametrize("function", OTHERS, ids=lambda function: function.name)
def test_a_function_has_one_type_whatever_its_parameters(function) -> None:
    more = [parameter.default + 0.5 for parameter in function.parameters]
    kinds = {numba.typeof(following(activation)) for activation in (function(), function(*more))}
    assert len(kinds) == 1
    (kind,) = kinds
    assert function.layer in repr(kind)  # the name of the file in the disk cache comes from there
    assert pickle.loads(pickle.dumps(kind)) == kind


def test_no_two_functions_have_one_type() -> None:
    assert len({repr(numba.typeof(following(function()))) for function in OTHERS}) == len(OTHERS)


def test_what_is_kept_lies_at_a_distance_from_the_result() -> None:
    both = np.zeros((2, 3, 41), np.float32)  # no whole vectors, whatever their width
    follows = following(POINTWISE["leaky_relu"](0.25), both[0], both[1])
    assert (follows.first, follows.shift, is_aligned(follows)) == (0.25, 492, False)
    assert np.shares_memory(follows.kept, both[1])
