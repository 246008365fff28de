"""Sums in one order, whoever computes which part of them.

The terms are the leaves of a binary tree of which neighbours are joined first: ``((a + b) + (c + d)) + ...``. Of a
power of two of them, each rank's share of neighbours is a subtree, whatever power of two the ranks are. So the sum has
the same bits for any number of ranks.

Terms are added by the arrays themselves and not by the backend, whose kernels flush subnormal numbers: what one rank
adds here, others add inside of MPI.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.parallel.communicator import Communicator

_Term = TypeVar("_Term")


def in_tree(terms: Sequence[_Term], join: Callable[[_Term, _Term], _Term]) -> _Term:
    """Join terms in the order of the tree; where there is no power of two of them, the last one of a level waits."""
    found = list(terms)
    while len(found) > 1:
        found = [join(*found[i : i + 2]) if i + 1 < len(found) else found[i] for i in range(0, len(found), 2)]
    return found[0]


def gathered(communicator: Communicator, values: np.ndarray) -> np.ndarray:
    """Return the arrays of all ranks, (size, ...), in their order: for small ones, as it sends `size` times as much."""
    if communicator.size == 1:
        return values[None]
    found = np.zeros((communicator.size, *values.shape), values.dtype)
    found[communicator.rank] = values
    communicator.allreduce(found, ordered=False)  # one number and zeros: the order is nothing to them
    return found


def sum_in_order(
    flat: Array,
    size: int,
    exchange: Callable[[Array, Array], None],
    collect: Callable[[Array, Array], None],
    *,
    bf16: bool,
) -> None:
    """Sum the flat arrays of `size` ranks, a power of two, in the order of the tree.

    Each rank adds a slice of all of them, and shows the others the result.

    Parameters
    ----------
    exchange : callable
        ``exchange(mine, theirs)``: send row r of `mine` to rank r, and receive its row into row r of `theirs`.
    collect : callable
        ``collect(mine, all)``: send `mine` to all ranks, and receive that of rank r into row r of `all`.
    bf16 : bool
        Whether what is sent is rounded to bfloat16.
    """
    count = flat.shape[0]
    width = -(-count // size)
    sent = to_bf16(flat) if bf16 else flat
    mine = sent
    if width * size != count:
        mine = np.zeros_like(sent, shape=(width * size,))
        mine[:count] = sent
    theirs = np.empty_like(mine, shape=(size, width))
    exchange(mine.reshape(size, width), theirs)
    total = in_tree([from_bf16(row) if bf16 else row for row in theirs], operator.add)
    whole = np.empty_like(mine, shape=(size, width))
    collect(to_bf16(total) if bf16 else total, whole)
    result = whole.reshape(-1)[:count]
    flat[...] = from_bf16(result) if bf16 else result


def to_bf16(values: Array) -> Array:
    """Return float32 rounded to the nearest bfloat16, ties to even, as uint16; NaN stays NaN."""
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    rounded[values != values] = 0x7FC0
    return rounded.astype(np.uint16)


def from_bf16(bits: Array) -> Array:
    """Return bfloat16 numbers, as uint16, in float32."""
    wide: Array = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)
