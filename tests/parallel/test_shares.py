from __future__ import annotations

import numpy as np

from fastconv.backends import use_backend
from fastconv.data import DataLoader
from fastconv.parallel.shares import own_share


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
