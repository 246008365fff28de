"""Random orders that depend on their key alone."""

from __future__ import annotations

import numpy as np

from fastconv.random import checked_seed

_ORDER = 0x6F72646572  # keeps these numbers apart from others with the same seed
_DRAW = 0x64726177


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the numbers 0 to `count` - 1 in the random order of (`seed`, `epoch`), int64.

    It sorts raw Philox output. NumPy promises that stream for good, but not that of ``Generator.permutation`` (NEP 19).
    """
    key = np.array([checked_seed(seed), _ORDER], np.uint64)
    words = np.random.Philox(key=key, counter=epoch << 128).random_raw(count)
    return np.argsort(words, kind="stable")


def drawn(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return as many numbers as there are `weights`, each drawn anew with these chances, int64.

    Whatever sums and rounding do, a number of weight 0 is never drawn.
    """
    key = np.array([checked_seed(seed), _DRAW], np.uint64)
    words = np.random.Philox(key=key, counter=epoch << 128).random_raw(len(weights))
    ends = np.cumsum(weights, dtype=np.float64)
    places: np.ndarray = np.searchsorted(ends, (words >> np.uint64(11)) * 2.0**-53 * ends[-1], side="right")
    return places.clip(max=np.flatnonzero(weights)[-1])
