"""Augmentations of a loader: which go together, their rows for a batch, and the targets of mixed images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.data.augmentations import Augmentation, Crop, Flip, FlipCrop, ImageShape
from fastconv.data.dataset import Dataset
from fastconv.data.draws import Draws
from fastconv.data.windows import Mixing
from fastconv.errors import ArgumentError
from fastconv.kernels.transforms import AT, UNCHANGED

_PLACES: dict[str, int] = AT._asdict()
_ORDER = "Flip, Crop or Translate, Affine, ColorJitter, Cutout or RandomErasing, Mixup and CutMix"


class Changes:
    """Augmentations in the order in which they happen."""

    def __init__(self, parts: Sequence[Augmentation]) -> None:
        self.parts = tuple(parts)
        self.mixing = tuple(part for part in parts if isinstance(part, Mixing))  # targets become rows of shares

    def rows(self, draws: Draws, shape: ImageShape) -> np.ndarray:
        """Return the rows of a batch of images (H, W, C), (B, columns) float64."""
        rows = np.tile(np.array(UNCHANGED), (len(draws.indices), 1))
        for part in self._drawn(draws):
            for name, values in part.columns(draws.of(1 + part.stage), shape).items():
                rows[:, _PLACES[name]] = values
        return rows

    def _drawn(self, draws: Draws) -> list[Augmentation]:
        """Return the parts, and of those that mix one, drawn for the batch."""
        others: list[Augmentation] = [part for part in self.parts if not isinstance(part, Mixing)]
        if self.mixing:
            others.append(self.mixing[int(draws.of_batch(1)[0] * len(self.mixing))])
        return others


def checked(augmentation: Any, shape: ImageShape) -> FlipCrop | Changes | None:
    """Return what a loader does to images (H, W, C), for what the user gave.

    Raises
    ------
    ArgumentError
        It is no augmentation, images like these cannot be changed so, or two of them cannot go together.
    """
    given = tuple(augmentation) if isinstance(augmentation, tuple | list) else (augmentation,)
    if given in ((), (None,)):
        return None
    if len(given) == 1 and isinstance(given[0], FlipCrop):
        return given[0]
    parts: list[Augmentation] = []
    for part in given:
        if isinstance(part, FlipCrop):
            parts += [Flip()] * part.flip + [Crop(part.pad)]
        elif isinstance(part, Augmentation):
            parts.append(part)
        else:
            raise ArgumentError(
                f"augmentation: got {part!r}; allowed: None, FlipCrop, one of {_ORDER}, or several in this order"
            )
    for before, after in itertools.pairwise(parts):
        both_mix = isinstance(before, Mixing) and isinstance(after, Mixing) and type(before) is not type(after)
        if before.stage > after.stage or (before.stage == after.stage and not both_mix):
            raise ArgumentError(f"augmentation: got {before!r} before {after!r}; allowed: in the order {_ORDER}")
    for part in parts:
        if wanted := part.misfit(shape):
            raise ArgumentError(f"augmentation: got {part!r} for images {shape}; allowed: {wanted}")
    return Changes(parts)


def mixed_targets(rows: np.ndarray, targets: np.ndarray, shape: ImageShape, dtype: Any) -> np.ndarray:
    """Return the targets of a batch that was mixed, of targets (B, K): each by its share of the pixels."""
    top, bottom, left, right, share, partner = (
        rows[:, _PLACES[name]] for name in ("mix_top", "mix_bottom", "mix_left", "mix_right", "mix_share", "partner")
    )
    window = (bottom - top).clip(0) * (right - left).clip(0) / (shape[0] * shape[1])
    own = (1 - (1 - share) * window)[:, None]
    mixed: np.ndarray = own * targets + (1 - own) * targets[partner.astype(int)]
    return mixed.astype(dtype)


def shares_of(targets: np.ndarray, num_classes: int, dtype: Any) -> np.ndarray:
    """Return targets as rows of shares: rows as they are, class numbers each as a row of one 1."""
    return targets if targets.ndim == 2 else np.eye(num_classes, dtype=dtype)[targets]


def checked_classes(changes: FlipCrop | Changes | None, targets: Any, dataset: Any) -> int:
    """Return how many classes there are among targets that are mixed, 0 where none are.

    Raises
    ------
    ArgumentError
        The targets cannot be mixed, or it is not known how many classes there are.
    """
    if not isinstance(changes, Changes) or not changes.mixing:
        return 0
    first = changes.mixing[0]
    told = next((part.num_classes for part in changes.mixing if part.num_classes is not None), None)
    classes = len(dataset.class_names) if isinstance(dataset, Dataset) and told is None else told
    if targets.ndim == 2:
        return int(targets.shape[1])
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        given, allowed = f"targets {targets.dtype} {tuple(targets.shape)}", "class numbers (M,), or rows (M, K)"
    elif classes is None:
        given, allowed = "a pair with class numbers", "with num_classes, or for a Dataset"
    elif len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        given, allowed = f"class numbers from {targets.min()} to {targets.max()}", f"those below num_classes, {classes}"
    else:
        return classes
    raise ArgumentError(f"augmentation: got {first!r} for {given}; allowed: {allowed}")
