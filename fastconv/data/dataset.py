"""A set of labelled images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.data._order import shuffled
from fastconv.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Labelled images, and what normalises them.

    Parameters
    ----------
    name : str
        Name of the data set and its part, such as ``"cifar10/train"``.
    images : (M, H, W, C) uint8 array
        Channels are the last axis.
    labels : (M,) int32 array
        Positions in `class_names`.
    class_names : tuple of str
        A name for each class.
    mean, std : tuple of C floats
        Of the training images, per channel, in units of the full range 1.0.

    Raises
    ------
    DataError
        The arrays do not fit together.

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=20)
    >>> data.name, data.images.shape, data.labels[:4], data.class_names[:3]
    ('shapes10/train', (20, 32, 32, 3), array([0, 1, 2, 3], dtype=int32), ('circle', 'ring', 'square'))
    >>> rest, held_out = data.split(5)
    >>> len(rest.labels), len(held_out.labels)
    (15, 5)
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        for name, array in (("images", images), ("labels", labels)):
            if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):  # whose mask would be lost
                raise DataError(f"{name}: got {type(array).__name__}; allowed: a NumPy array")
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"images: got {images.dtype} {images.shape}; allowed: uint8 (M, H, W, C)")
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise DataError(f"labels: got {labels.dtype} {labels.shape}; allowed: int32 {images.shape[:1]}")
        names = self.class_names
        listed = isinstance(names, Iterable) and not isinstance(names, str)
        object.__setattr__(self, "class_names", tuple(names) if listed else ())
        if not listed or not all(isinstance(name, str) for name in self.class_names):
            raise DataError(f"class_names: got {names!r:.100}; allowed: a tuple of strings, a name for each class")
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            got = f"{labels.min()} to {labels.max()}"
            raise DataError(f"labels: got values from {got}; allowed: 0 to {len(self.class_names) - 1}")
        if not _usable(self.mean, self.std, images.shape[3]):
            raise DataError(
                f"mean, std: got {self.mean} and {self.std}; allowed: {images.shape[3]} finite numbers each, std above"
                " zero"
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: slice | np.ndarray) -> Dataset:
        """Return the images at `indices`; a slice copies nothing.

        Parameters
        ----------
        indices : slice or (M,) array of integers
            Which images, in which order.

        Returns
        -------
        Dataset
            With the same classes and normalisation.
        """
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def split(self, count: int, *, seed: int = 0, stratified: bool = False) -> tuple[Dataset, Dataset]:
        """Return ``(rest, held_out)``: `count` images drawn at random, for validation, and all others in their order.

        With `stratified` each class has its share of those held out, rounded so that they are `count` in all. Of images
        that are mapped from a file both parts are read into memory.

        Parameters
        ----------
        count : int
            How many are held out.
        seed : int
            Of the draw.
        stratified : bool
            Whether each class has its share of them.

        Returns
        -------
        rest, held_out : Dataset
            Each image is in one of them.

        Raises
        ------
        DataError
            `count` is no whole number from 0 to the number of images.
        """
        if not hasattr(count, "__index__") or not 0 <= count <= len(self):
            raise DataError(f"count: got {count}; allowed: 0 to {len(self)}, the number of images in {self.name}")
        held_out = np.zeros(len(self), bool)
        order = shuffled(len(self), seed, 0)
        if validate.truth(stratified, "stratified") and len(self):
            of_class = [order[self.labels[order] == label] for label in range(len(self.class_names))]
            shares = np.array([len(own) for own in of_class]) * int(count)
            whole, rest = np.divmod(shares, len(self))
            whole[np.argsort(-rest, kind="stable")[: count - whole.sum()]] += 1
            order = np.concatenate([own[:number] for own, number in zip(of_class, whole, strict=True)])
        held_out[order[:count]] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


def _usable(mean: Any, std: Any, channels: int) -> bool:
    """Tell whether these are as many finite numbers each, those of `std` above zero."""
    try:
        return (
            len(mean) == len(std) == channels and all(map(math.isfinite, (*mean, *std))) and min(std, default=1.0) > 0
        )
    except TypeError:
        return False
