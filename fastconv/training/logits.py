"""What a trained network puts out for the images of a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.data import DataLoader, Dataset
from fastconv.errors import CheckpointError, DataError
from fastconv.nn import Layer

_MOST = 10  # confusions that are named


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits, (M, classes), in float64."""
    wide = logits.astype(np.float64)
    shares: np.ndarray = np.exp(wide - wide.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return shares


def most_confused(counts: np.ndarray) -> list[tuple[int, int]]:
    """Return what is taken for what, as pairs of classes, those of most images first; ten at most."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST]
    return [divmod(int(place), len(counts)) for place in order if wrong.flat[place]]


def compute_logits(model: Layer, data: Dataset, batch_size: int, about: Mapping[str, Any]) -> np.ndarray:
    """Return the output of `model` for all images, (M, classes), normalised as in training."""
    if not len(data):
        raise DataError(f"data: got no images in {data.name}; allowed: one or more")
    loader = DataLoader(
        data, batch_size, shuffle=False, mean=about.get("mean"), std=about.get("std"), dtype=model.dtype
    )
    logits = np.concatenate([model.backend.to_numpy(model(x)).copy() for x, _ in loader])
    broken = int(np.count_nonzero(~np.isfinite(logits).all(1)))
    if broken:  # it would name the first class for everything
        raise CheckpointError(
            f"weights: got an output that is not finite for {broken} of {len(logits)} images; allowed: weights of a"
            " training that went well"
        )
    return logits
