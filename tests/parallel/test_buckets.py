from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.parallel.buckets import TreeSum, cut, reduce_array
from fastconv.parallel.tree import in_tree
from tests.parallel.threads import run_ranks


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_parts_are_summed_in_the_order_of_the_tree(rng, parts):
    terms = (rng.standard_normal((parts, 50)) * 10.0 ** rng.integers(-6, 6, (parts, 1))).astype(np.float32)
    flat = np.empty(50, np.float32)
    tree = TreeSum(get_backend("numpy"), [flat], parts)
    for part, term in enumerate(terms):
        flat[...] = term
        tree.add(part)
    np.testing.assert_array_equal(flat, in_tree(list(terms), lambda a, b: a + b))


def test_the_last_part_may_come_in_pieces(rng):
    terms = rng.standard_normal((4, 50)).astype(np.float32)
    flat = np.empty(50, np.float32)
    tree = TreeSum(get_backend("numpy"), [flat], 4)
    for part, term in enumerate(terms[:3]):
        flat[...] = term
        tree.add(part)
    flat[...] = terms[3]
    for begin, end in cut(50, 4, 60):
        tree.add_piece(3, 0, begin, end)
    np.testing.assert_array_equal(flat, in_tree(list(terms), lambda a, b: a + b))


def test_buckets_cover_an_array_from_its_end_and_begin_small():
    assert cut(10, 4, 16) == [(9, 10), (5, 9), (1, 5), (0, 1)]
    assert cut(3, 4, 10**9) == [(0, 3)]
    assert cut(0, 4, 16) == []
    assert cut(2, 8, 1) == [(1, 2), (0, 1)]


def test_only_float32_goes_as_bfloat16():
    def rank(communicator):
        values = np.array([1 + 2**-20], np.float64)
        narrow = values.astype(np.float32)
        for array in (values, narrow):
            reduce_array(communicator, array, ordered=True, bf16=True)
        return values[0], narrow[0]

    assert run_ranks(2, rank) == [(2 + 2**-19, 2.0)] * 2
