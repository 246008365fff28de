from __future__ import annotations

import numpy as np
import pytest

from fastconv.parallel.single import SingleProcess
from fastconv.parallel.tree import from_bf16, gathered, in_tree, to_bf16
from tests.parallel.threads import run_ranks


def test_tree_joins_neighbours_first():
    assert in_tree("abcdefgh", lambda a, b: f"({a}{b})") == "(((ab)(cd))((ef)(gh)))"
    assert in_tree("abcde", lambda a, b: f"({a}{b})") == "(((ab)(cd))e)"
    assert in_tree(["a"], lambda a, b: a + b) == "a"


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_ordered_sum_has_the_bits_of_the_tree(rng, size, count):
    terms = (rng.standard_normal((8, count)) * 10.0 ** rng.integers(-6, 6, (8, 1))).astype(np.float32)
    wanted = in_tree(list(terms), lambda a, b: a + b)

    def rank(communicator):
        own = np.split(terms, size)[communicator.rank]
        buffer = in_tree(list(own), lambda a, b: a + b).copy()
        communicator.allreduce(buffer)
        return buffer

    for found in run_ranks(size, rank):
        np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))


def test_other_orders_give_other_bits(rng):
    """Or the test above would show nothing."""
    terms = (rng.standard_normal((4, 1000)) * 10.0 ** rng.integers(-6, 6, (4, 1))).astype(np.float32)
    buffers = terms.copy()
    run_ranks(4, lambda communicator: communicator.allreduce(buffers[communicator.rank], ordered=False))
    assert (buffers[0] != in_tree(list(terms), lambda a, b: a + b)).any()


def test_bf16_rounds_to_nearest_and_keeps_what_is_not_finite():
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, 0.0, np.inf, -np.inf, np.nan], np.float32)
    found = from_bf16(to_bf16(values))
    np.testing.assert_array_equal(found, np.array([1, 1, 1 + 2**-6, -2.5, 0, np.inf, -np.inf, np.nan], np.float32))


def test_sum_in_bf16_adds_what_was_rounded_in_float32(rng):
    terms = rng.standard_normal((4, 33)).astype(np.float32)
    buffers = terms.copy()
    run_ranks(4, lambda communicator: communicator.allreduce(buffers[communicator.rank], bf16=True))
    rounded = [from_bf16(to_bf16(term)) for term in terms]
    wanted = from_bf16(to_bf16(in_tree(rounded, lambda a, b: a + b)))
    for found in buffers:
        np.testing.assert_array_equal(found, wanted)


def test_gathered_are_in_order_of_ranks():
    found = run_ranks(4, lambda communicator: gathered(communicator, np.array([communicator.rank + 0.5, -1.0])))
    for each in found:
        np.testing.assert_array_equal(each, [[0.5, -1], [1.5, -1], [2.5, -1], [3.5, -1]])
    np.testing.assert_array_equal(gathered(SingleProcess(), np.array([3.0])), [[3.0]])
