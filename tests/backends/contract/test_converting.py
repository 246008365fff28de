"""What a user hands over as numbers."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError


@pytest.mark.parametrize("value", [None, [None], {"a": 1}, {1, 2}, object(), (x for x in [1])])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("function", [fc.asarray, fc.to_numpy])
def test_objects_are_no_numbers(backend, value, function):
    with fc.use_backend(backend), pytest.raises(ArgumentError, match=r"^array: got .*; allowed: numbers, in an array"):
        function(value)


def test_what_comes_back_is_an_array():
    with fc.use_backend("numpy"):
        assert isinstance(fc.to_numpy([1, 2]), np.ndarray)
        assert isinstance(fc.to_numpy(2.0), np.ndarray)
        same = np.zeros(2)
        assert fc.to_numpy(same) is same
