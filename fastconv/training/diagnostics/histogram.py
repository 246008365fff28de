"""Histograms of any finite numbers, also where float64 has hardly steps between them, or no room beyond."""

from __future__ import annotations

import numpy as np

_LARGEST = float(np.finfo(np.float64).max)


def histogram(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and edges as `numpy.histogram` does, which refuses values too close or too far apart for it.

    Bins span the values. Where these are all the same, or too close for so many edges that differ, they span more.
    """
    if not values.size:
        return np.histogram(values, bins)
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > _LARGEST / 4:  # a fourth of them has a span that is finite
        counts, edges = histogram(values / 4, bins)
        return counts, 4 * np.clip(edges, -_LARGEST / 4, _LARGEST / 4)
    if low == high:
        low, high = low - 0.5, high + 0.5  # as NumPy has it
    if not (np.diff(np.linspace(low, high, bins + 1)) > 0).all():
        more = 2 * bins * float(np.spacing(max(-low, high)))
        low, high = low - more, high + more
    return np.histogram(values, bins, (low, high))
