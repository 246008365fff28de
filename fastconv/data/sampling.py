"""How often each sample of a data set is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fastconv import _validate as validate
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
        weights = np.asarray(sampling)
    except ValueError:  # lists of several lengths
        weights = np.empty(())
    if weights.shape != labels.shape[:1] or not _are_chances(weights):
        raise ArgumentError(
            f"sampling: got {validate.shown(sampling)}; allowed: {labels.shape[0]} finite weights, 0 or above, whose"
            " sum is finite"
        )
    if len(weights) and not weights.any():
        raise ArgumentError("sampling: got weights that are all 0; allowed: at least one above")
    return weights.astype(np.float64)


def _are_chances(weights: np.ndarray) -> bool:
    if weights.dtype.kind not in "biuf":  # texts that are read as numbers, too
        return False
    with np.errstate(over="ignore"):
        return bool((weights >= 0).all() and math.isfinite(weights.sum(dtype=np.float64)))
