"""How often each sample of a data set is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError

Sampling = Literal["balanced"] | Sequence[float] | np.ndarray


def sampling_weights(sampling: Sampling | None, labels: Array) -> np.ndarray | None:
    """Return a weight for each sample, float64, for what the user gave, or None.

    "balanced" gives each class that occurs in `labels` the same chance in all.

    Raises
    ------
    ArgumentError
        It is neither "balanced" for class numbers (M,), nor M numbers of at least 0 of which one is above.
    """
    if sampling is None:
        return None
    if isinstance(sampling, str):
        if sampling != "balanced" or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ArgumentError(
                f"sampling: got {sampling!r} for labels {labels.dtype} {tuple(labels.shape)}; allowed: None, a weight"
                " for each sample, or 'balanced' for class numbers (M,)"
            )
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights: np.ndarray = 1.0 / counts[classes]
        return weights
    try:
        weights = np.asarray(sampling, np.float64)
    except (TypeError, ValueError):
        weights = np.empty(())
    if weights.shape != labels.shape[:1] or not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ArgumentError(f"sampling: got {sampling!r:.80}; allowed: {labels.shape[0]} finite weights, 0 or above")
    if len(weights) and not weights.any():
        raise ArgumentError("sampling: got weights that are all 0; allowed: at least one above")
    return weights
