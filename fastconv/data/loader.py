"""Batches of a data set."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv.backends import get_backend
from fastconv.backends.base import Array, Backend, RandomKey
from fastconv.data._order import shuffled
from fastconv.data.augmentations import FlipCrop
from fastconv.data.dataset import Dataset
from fastconv.errors import ArgumentError, DTypeError
from fastconv.random import checked_seed

AUGMENT_STREAM = 2**32 - 1  # the layers count their streams up from 0
_NOTHING = FlipCrop(flip=False, pad=0)


class DataLoader:
    """Makes batches ``(x, labels)`` of a data set, each by one backend operation into one array.

    The images stay in memory as bytes. The order and the augmentation of an epoch depend on `seed` and on the epoch's
    number only, so that a run can be taken up again at any epoch, on any backend.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
    shuffle : bool
        A new random order in each epoch.
    augmentation : FlipCrop or None
    mean, std : sequence of float or None
        Per channel, in units of the full range 1.0; the data set's own by default.
    drop_last : bool
        Leave out a last batch that is not full.
    seed : int
    dtype : dtype
        float32 or float64.

    Yields
    ------
    x : (batch, H, W, C) array of the active backend
        ``(image / 255 - mean) / std``.
    labels : (batch,) int32 array of the active backend

    Raises
    ------
    ArgumentError, DTypeError
        An argument is outside of what is stated here.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 128,
        *,
        shuffle: bool = True,
        augmentation: FlipCrop | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        drop_last: bool = False,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.dataset = dataset
        self.batch_size = _at_least(batch_size, 1, "batch_size")
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.mean = _per_channel(mean if mean is not None else dataset.mean, dataset, "mean")
        self.std = _per_channel(std if std is not None else dataset.std, dataset, "std")
        if min(self.std, default=1.0) <= 0:
            raise ArgumentError(f"std: got {self.std}; allowed: numbers above zero")
        self.drop_last = drop_last
        self.seed = checked_seed(seed)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise DTypeError(f"dtype: got {self.dtype}; allowed: float32, float64")
        self.epoch = 0
        self._resident: tuple[Backend, Array] | None = None

    @property
    def num_samples(self) -> int:
        """How many images an epoch shows."""
        count = len(self.dataset)
        return count - count % self.batch_size if self.drop_last else count

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the number of the epoch that the next ``iter()`` begins; each epoch begun counts it up."""
        self.epoch = _at_least(epoch, 0, "epoch")

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        epoch = self.epoch
        self.epoch += 1
        return self._batches(epoch)

    def _batches(self, epoch: int) -> Iterator[tuple[Array, Array]]:
        backend = get_backend()
        images = self._images(backend)
        order = shuffled(len(self.dataset), self.seed, epoch) if self.shuffle else np.arange(len(self.dataset))
        indices, labels = backend.asarray(order), backend.asarray(self.dataset.labels[order])
        mean, std = (backend.asarray(np.array(values, self.dtype)) for values in (self.mean, self.std))
        change = self.augmentation or _NOTHING
        for number in range(len(self)):
            begin = number * self.batch_size
            end = min(begin + self.batch_size, self.num_samples)
            x = backend.empty((end - begin, *images.shape[1:]), self.dtype)
            key = RandomKey(self.seed, AUGMENT_STREAM, (epoch * len(self) + number) % 2**32)
            backend.augment(
                images, indices[begin:end], mean=mean, std=std, flip=change.flip, pad=change.pad, key=key, out=x
            )
            yield x, labels[begin:end]

    def _images(self, backend: Backend) -> Array:
        if self._resident is None or self._resident[0] is not backend:
            self._resident = backend, backend.asarray(self.dataset.images)
        return self._resident[1]


def _at_least(value: int, minimum: int, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if number < minimum:
        raise ArgumentError(f"{name}: got {value!r}; allowed: a whole number, {minimum} or more")
    return number


def _per_channel(values: Sequence[float], dataset: Dataset, name: str) -> tuple[float, ...]:
    channels = dataset.images.shape[3]
    numbers = tuple(float(value) for value in values)
    if len(numbers) != channels:
        raise ArgumentError(f"{name}: got {len(numbers)} numbers; allowed: {channels}, one per channel")
    return numbers
