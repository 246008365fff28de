"""Random orders that depend on their key alone."""

from __future__ import annotations

import numpy as np

from fastconv.random import checked_seed

_ORDER = 0x6F72646572  # keeps these numbers apart from others with the same seed


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the numbers 0 to `count` - 1 in the random order of (`seed`, `epoch`), int64.

    It sorts raw Philox output. NumPy promises that stream for good, but not that of ``Generator.permutation`` (NEP 19).
    """
    key = np.array([checked_seed(seed), _ORDER], np.uint64)
    words = np.random.Philox(key=key, counter=epoch << 128).random_raw(count)
    return np.argsort(words, kind="stable")
