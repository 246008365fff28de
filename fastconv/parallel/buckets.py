"""Flat arrays of gradients, cut into buckets, and summed over the parts of a batch and over the ranks.

What a rank computes of a batch, part by part, is joined in the order of `fastconv.parallel.tree` as it comes, with one
array for each level of the tree; the ranks' sums are joined by the communicator, in the same tree or in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.parallel.communicator import Communicator


class TreeSum:
    """Sums arrays in place, part after part; the sum of all of them lies in the arrays themselves at the end.

    Parameters
    ----------
    arrays : sequence of flat array
        Which each part writes anew.
    parts : int
        How many parts there are, a power of two.
    """

    def __init__(self, backend: Backend, arrays: Sequence[Array], parts: int) -> None:
        self.arrays, self.parts = list(arrays), parts
        levels = (parts - 1).bit_length()
        self._kept = [[backend.empty(array.shape, array.dtype) for _ in range(levels)] for array in self.arrays]

    def add(self, part: int) -> None:
        """Count in what the arrays hold now, of this part, from 0."""
        for number, array in enumerate(self.arrays):
            self.add_piece(part, number, 0, array.shape[0])

    def add_piece(self, part: int, number: int, begin: int, end: int) -> None:
        """Count in a piece of the array with this number only."""
        mine, kept, level = self.arrays[number][begin:end], self._kept[number], 0
        with np.errstate(all="ignore"):  # what diverges is found out by its loss
            while part >> level & 1:
                mine += kept[level][begin:end]
                level += 1
        if part < self.parts - 1:
            kept[level][begin:end] = mine


def reduce_array(communicator: Communicator, array: Array, *, ordered: bool, bf16: bool) -> None:
    """Sum an array over the ranks, in place."""
    if communicator.size > 1:
        communicator.allreduce(array, ordered=ordered, bf16=bf16 and array.dtype == np.float32)


def cut(length: int, size: int, largest: int) -> list[tuple[int, int]]:
    """Return begin and end of buckets of at most `largest` bytes, of an array of so many elements of `size` bytes.

    From the end on, as gradients come: so the first one is a quarter as large, and under way the sooner. What is no
    larger than a bucket stays whole.
    """
    if 0 < length * size <= largest:
        return [(0, length)]
    step = max(1, largest // size)
    ends, end, width = [], length, max(1, step // 4)
    while end > 0:
        begin = max(0, end - width)
        ends.append((begin, end))
        end, width = begin, step
    return ends
