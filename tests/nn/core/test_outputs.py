"""One output or several: what is done with each, and where one alone is taken."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ShapeError
from fastconv.nn.core.outputs import bytes_of, check_one, of_each, ones_like, parts_of, shapes_of


def test_an_array_is_one_output_and_a_tuple_several():
    one, several = np.zeros((2, 3), np.float32), (np.zeros((2, 3)), np.zeros(4))
    assert of_each(one, np.shape) == (2, 3)
    assert of_each(several, np.shape) == ((2, 3), (4,))
    assert (bytes_of(one), bytes_of(several)) == (24, 80)
    assert (len(parts_of(one)), len(parts_of(several))) == (1, 2)
    ones = ones_like(several, fc.get_backend("numpy"))
    assert [(part.shape, part.dtype, part.sum()) for part in ones] == [((2, 3), np.float64, 6), ((4,), np.float64, 4)]


def test_shapes_of_several_are_a_tuple_of_them():
    assert shapes_of((2, 3)) == ((2, 3),)
    assert shapes_of(((2, 3), (4,))) == ((2, 3), (4,))
    check_one((2, 3), "x")
    with pytest.raises(ShapeError, match=r"x: got 2 outputs, of shapes \(\(2, 3\), \(4,\)\); allowed: one array"):
        check_one(((2, 3), (4,)), "x")
