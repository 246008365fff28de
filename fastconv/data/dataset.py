"""A set of labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv.data._order import shuffled
from fastconv.data.statistics import check_units
from fastconv.errors import ArgumentError, DataError

_SHOWN = 10  # names of classes in a line


@dataclass(frozen=True, eq=False)
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
        Of the training images, per channel, in units of the full range: from 0 to 1, `std` above 0.

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
        object.__setattr__(self, "class_names", names_in_order(self.class_names))
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            got = f"{labels.min()} to {labels.max()}"
            raise DataError(f"labels: got values from {got}; allowed: 0 to {len(self.class_names) - 1}")
        if not _usable(self.mean, self.std, images.shape[3]):
            raise DataError(
                f"mean, std: got {self.mean} and {self.std}; allowed: {images.shape[3]} finite numbers each, std above"
                " zero"
            )
        check_units(self.mean, self.std, DataError)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shown = ", ".join(self.class_names[:_SHOWN]) + ", ..." * (len(self.class_names) > _SHOWN)
        images = f"{len(self)} x {self.images.shape[1:]} {self.images.dtype}"
        return f"Dataset({self.name!r}, {images}, {len(self.class_names)} classes: {shown})"

    @tells_habits({"count": "indices, as in take(slice(count))"})
    def take(self, indices: slice | Sequence[int] | np.ndarray) -> Dataset:
        """Return the images at `indices`; a slice copies nothing.

        Parameters
        ----------
        indices : slice, or (M,) array of integers, or of a truth for each image
            Which images, in which order; -1 is the last one.

        Returns
        -------
        Dataset
            With the same classes and normalisation.

        Raises
        ------
        ArgumentError
            `indices` are none of these, or there is no image at one of them.
        """
        places = _places_of(indices, len(self))
        if places is None:
            got = " ".join(validate.shown(indices).split())
            raise ArgumentError(
                f"indices: got {got}; allowed: a slice, such as slice(3) for the first three, or whole numbers from"
                f" {-len(self)} to {len(self) - 1}, the places of images in {self.name}"
            )
        return replace(self, images=self.images[places], labels=self.labels[places])

    @tells_habits({"test_size": "count, a number of images", "random_state": "seed", "stratify": "stratified=True"})
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
        try:
            count = validate.at_least(count, 0, "count", len(self))
        except ArgumentError:
            got = validate.shown(count)
            raise DataError(
                f"count: got {got}; allowed: 0 to {len(self)}, the number of images in {self.name}"
            ) from None
        held_out = np.zeros(len(self), bool)
        order = shuffled(len(self), seed, 0)
        if validate.truth(stratified, "stratified") and len(self):
            of_class = [order[self.labels[order] == label] for label in range(len(self.class_names))]
            shares = np.array([len(own) for own in of_class]) * count
            whole, rest = np.divmod(shares, len(self))
            whole[np.argsort(-rest, kind="stable")[: count - whole.sum()]] += 1
            order = np.concatenate([own[:number] for own, number in zip(of_class, whole, strict=True)])
        held_out[order[:count]] = True
        return self.take(np.flatnonzero(~held_out)), self.take(np.flatnonzero(held_out))


def names_in_order(names: Any) -> tuple[str, ...]:
    """Return names of classes as a tuple; a set has no order, and a dict may have another one than its numbers."""
    try:
        found = (None,) if isinstance(names, str | Set | Mapping) else tuple(names)
    except TypeError:  # also of an array without axes
        found = (None,)
    if not all(isinstance(name, str) for name in found):
        got = validate.shown(names)
        raise DataError(f"class_names: got {got}; allowed: a name for each class, a list or tuple of strings")
    return found


def _places_of(indices: Any, count: int) -> slice | np.ndarray | None:
    """Return places of some of `count` images, None where these are none."""
    try:
        if isinstance(indices, slice):
            indices.indices(count)  # a TypeError where its ends are no whole numbers
            return indices
        places = np.asarray(indices)
    except (TypeError, ValueError):
        return None
    if places.ndim != 1 or isinstance(indices, np.ma.MaskedArray):
        return None
    if not places.size:
        return places.astype(int)
    if places.dtype == bool:
        return places if len(places) == count else None
    return places if places.dtype.kind in "iu" and -count <= places.min() <= places.max() < count else None


def _usable(mean: Any, std: Any, channels: int) -> bool:
    """Tell whether these are as many finite numbers each, those of `std` above zero."""
    try:
        return (
            len(mean) == len(std) == channels and all(map(math.isfinite, (*mean, *std))) and min(std, default=1.0) > 0
        )
    except TypeError:
        return False
