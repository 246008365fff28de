from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import use_backend
from fastconv.data import DataLoader
from fastconv.parallel.shares import bounds, own_share


@pytest.mark.parametrize(
    ("rows", "shards"), [(0, 8), (1, 8), (7, 8), (8, 8), (9, 8), (64, 8), (100, 8), (1, 1), (10, 4), (3, 3), (128, 3)]
)
def test_shards_cover_the_rows_and_differ_by_one(rows, shards):
    cuts = bounds(rows, shards)
    assert len(cuts) == shards
    assert [begin for begin, _ in cuts] == [0, *(end for _, end in cuts[:-1])]
    assert cuts[-1][1] == rows
    sizes = [end - begin for begin, end in cuts]
    assert max(sizes) - min(sizes) <= 1


def test_batches_are_cut_into_the_own_shards():
    x, y, weight = np.arange(10.0)[:, None], np.arange(10), np.ones(10)
    share = own_share([(x, y), (x[:3], y[:3], weight[:3])], range(2, 4), 4)
    first, second = list(share)
    assert [piece[1].tolist() for piece in first] == [[5, 6], [7, 8, 9]]
    assert [[array.tolist() for array in piece[1:]] for piece in second] == [[[1], [1.0]], [[2], [1.0]]]
    assert len(share) == 2
    assert first[0][0].base is not None  # views


def test_a_loader_makes_the_own_shards_alone():
    x, y = np.arange(10, dtype=np.float32)[:, None], np.arange(10)
    with use_backend("numpy"):
        whole = [batch[1] for batch in DataLoader((x, y), 4, seed=3)]
        shares = [list(own_share(DataLoader((x, y), 4, seed=3), range(k, k + 2), 4)) for k in (0, 2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        np.testing.assert_array_equal(np.concatenate([piece[1] for piece in (*first, *second)]), batch)
