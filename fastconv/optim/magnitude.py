"""Which weights are pruned: the smallest ones, as many as a schedule says, or those of given masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.contract.converting import on_host
from fastconv.backends.contract.types import Shape
from fastconv.errors import ArgumentError, DTypeError, ShapeError


@dataclass(frozen=True)
class SparsitySchedule:
    """The share of weights that are zero after step t (Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878).

    ``target + (initial - target) * (1 - (t - begin) / (end - begin))**exponent`` from `begin` to `end`; nothing before,
    `target` from `end` on. It is taken up at `begin`, after every `frequency` steps from there, and at `end`.
    """

    begin: int
    end: int
    frequency: int
    initial: float
    target: float
    exponent: float

    def last_change(self, step: int) -> int | None:
        """Return the number of the last step up to this one after which masks change, None if there was none."""
        if step < self.begin:
            return None
        return self.end if step >= self.end else step - (step - self.begin) % self.frequency

    def at(self, step: int) -> float:
        """Return the share after this step."""
        if step < self.begin:
            return 0.0
        left = 0.0 if step >= self.end else (self.end - step) / (self.end - self.begin)
        return float(self.target + (self.initial - self.target) * left**self.exponent)


def smallest_pruned(
    weights: Sequence[np.ndarray], masks: Sequence[np.ndarray], share: float, *, together: bool
) -> list[np.ndarray]:
    """Return masks, True for what is kept, that prune this share of the weights: those of smallest magnitude.

    Of n weights ``round(share * n)`` go, as in PyTorch, but one stays. Those that `masks` has pruned go first, so that
    they never come back; of equal ones those that come first. A NaN counts as infinite.

    Parameters
    ----------
    together : bool
        Whether the weights of all arrays are ranked together, or each array's by themselves.
    """
    if not together:
        return [
            _ranked(weight.reshape(-1), mask.reshape(-1), share) for weight, mask in zip(weights, masks, strict=True)
        ]
    flat, before = (np.concatenate([array.reshape(-1) for array in arrays]) for arrays in (weights, masks))
    ends = np.cumsum([weight.size for weight in weights])
    return np.split(_ranked(flat, before, share), ends[:-1])


def odd_values(mask: np.ndarray) -> np.ndarray:
    """Return those that are neither 0 nor 1: as bools they would all be True, NaN too."""
    odd: np.ndarray = mask[~np.isin(mask, (0, 1))]
    return odd


def checked_mask(values: Any, name: str, shape: Shape) -> np.ndarray:
    """Return the mask of a parameter of this name and shape as bools."""
    mask = on_host(values, name="masks")
    if mask.dtype.kind not in "biuf":
        raise DTypeError(f"masks: got {mask.dtype} for {name}; allowed: bool, or the numbers 0 and 1")
    if mask.shape != shape:
        raise ShapeError(f"masks: got shape {mask.shape} for {name}; allowed: {shape}")
    odd = odd_values(mask)
    if odd.size:
        raise ArgumentError(f"masks: got {odd[0]:g} for {name}; allowed: True and False, or 1 and 0")
    return mask.astype(bool)


def _ranked(weights: np.ndarray, mask: np.ndarray, share: float) -> np.ndarray:
    count = min(round(share * weights.size), weights.size - 1)
    sizes = np.where(mask, np.fmin(np.abs(weights), np.inf), -1)
    threshold = np.partition(sizes, count - 1)[count - 1] if count > 0 else 0
    kept: np.ndarray = sizes >= max(threshold, 0)
    if count <= 0:
        return kept
    equal = np.flatnonzero(sizes == threshold)
    kept[equal[: count - int(np.count_nonzero(sizes < threshold))]] = False
    return kept
