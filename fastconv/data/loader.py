"""Batches of a data set."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.converting import unmasked
from fastconv.backends.contract.types import Array, RandomKey
from fastconv.data._order import drawn, shuffled
from fastconv.data.augmentations import Augmentation, FlipCrop
from fastconv.data.changes import Changes, checked, checked_classes, mixed_targets, shares_of
from fastconv.data.dataset import Dataset
from fastconv.data.draws import Draws
from fastconv.data.rows import bounds, take_rows
from fastconv.data.sampling import Sampling, sampling_weights
from fastconv.data.statistics import check_units
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.random import checked_seed

AUGMENT_STREAM = 2**32 - 1  # the layers count their streams up from 0
_NOTHING = FlipCrop(flip=False, pad=0)
_CHECKS: Mapping[str, Callable[[Any], Any]] = {  # of what each epoch reads anew
    "batch_size": partial(validate.at_least_one, name="batch_size"),
    "shuffle": partial(validate.truth, name="shuffle"),
    "drop_last": partial(validate.truth, name="drop_last"),
    "seed": checked_seed,
    "epoch": partial(validate.at_least, minimum=0, name="epoch"),
}


_WORKERS = "nothing: a batch is one operation on arrays in memory, by as many threads as fastconv has"


class DataLoader(Declared):
    """Makes batches ``(x, labels)`` of a data set or of a pair of arrays, images each by one backend operation.

    Images stay in memory as bytes; of an array that is mapped from a file each batch reads its own rows. The order and
    the augmentation of an epoch depend on `seed` and on the epoch's number only, so that a run can be taken up again at
    any epoch, on any backend.

    Parameters
    ----------
    dataset : Dataset, or arrays (x, y) or (x, y, weight) with a row for each sample
        x is uint8 (M, H, W, C), or float32 or float64 (M, ...); y is as the loss takes it, class numbers (M,) for
        instance; weight, (M,), is what each sample counts in training.
    batch_size : int
        How many samples, at least 1; the last batch of an epoch may have fewer.
    shuffle : bool
        A new random order in each epoch.
    sampling : "balanced", sequence of M floats, or None
        Draw each epoch's samples, as many as there are, with these chances, so that one may come twice and another not;
        "balanced" gives each class the same chance. By default each comes once.
    augmentation : FlipCrop, Augmentation, sequence of them, or None
        Of uint8 images: one or several in the order in which they happen, which is Flip, Crop or Translate, Affine,
        ColorJitter, normalisation, Cutout or RandomErasing, then Mixup and CutMix, of which each batch draws one where
        both are given. It is one operation a batch. What is measured has none.
    mean, std : sequence of float or None
        Per channel, in units of the full range of uint8 images, so from 0 to 1; the data set's own by default, for a
        pair 0 and 1. For floating x they are in its own units.
    drop_last : bool
        Leave out a last batch that is not full.
    seed : int
        Of the order and of the augmentation.
    dtype : dtype or None
        float32 or float64. By default float32 for images, for floating x its own.

    Yields
    ------
    x : (batch, ...) array of the active backend
        ``(image / 255 - mean) / std``, or ``(x - mean) / std``.
    labels : (batch,) int32 array of the active backend, or (batch, ...), the rows of y
        With `Mixup` or `CutMix` (batch, classes) of the type of x: rows of shares, for `SoftmaxCrossEntropy`.
    weight : (batch,) array, if the data set has weights

    Raises
    ------
    ArgumentError, DTypeError, ShapeError
        An argument is outside of what is stated here.

    Examples
    --------
    >>> loader = fc.data.DataLoader(fc.data.shapes10("train", size=10), batch_size=4)
    >>> [(x.shape, y.shape) for x, y in loader]
    [((4, 32, 32, 3), (4,)), ((4, 32, 32, 3), (4,)), ((2, 32, 32, 3), (2,))]
    """

    absent: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("num_workers", "pin_memory", "prefetch_factor", "persistent_workers"), _WORKERS),
        "sampler": "sampling='balanced', or a weight for each sample",
        **dict.fromkeys(("transform", "transforms"), "augmentation=[...], mean and std"),
        "generator": "seed",
    }

    def __init__(
        self,
        dataset: Dataset | tuple[Array, Array] | tuple[Array, Array, Array],
        batch_size: int = 128,
        *,
        shuffle: bool = True,
        sampling: Sampling | None = None,
        augmentation: FlipCrop | Augmentation | Sequence[FlipCrop | Augmentation] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        drop_last: bool = False,
        seed: int = 0,
        dtype: Any = None,
    ) -> None:
        self.dataset = dataset
        self._x, self._y, *self._weight = _arrays(dataset)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.shuffle, self.seed = shuffle, seed
        self.sampling = sampling
        self._weights = sampling_weights(sampling, self._y)
        self._check_sampling(shuffle)
        self.augmentation = augmentation
        if augmentation is not None and not self._of_images:
            raise ArgumentError(
                f"augmentation: got {augmentation!r} with x of {self._x.dtype}; allowed: None, or with uint8 images"
            )
        self._change = checked(augmentation, self._x.shape[1:]) if self._of_images else None
        self._classes = checked_classes(self._change, self._y, dataset)
        self.dtype = validate.floating_dtype(
            dtype if dtype is not None else np.float32 if self._of_images else self._x.dtype
        )
        self.mean = _per_channel(mean, 0.0, self.dataset, self._x, "mean")
        self.std = _per_channel(std, 1.0, self.dataset, self._x, "std")
        if min(self.std, default=1.0) <= 0:
            raise ArgumentError(f"std: got {self.std}; allowed: numbers above zero")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            self._check_range(name, numbers)
        if self._of_images:
            check_units(self.mean, self.std, ArgumentError)
        if not self._of_images:
            self._x = self._normalised(self._x, changed=mean is not None or std is not None)
        self.epoch = 0
        self._part: tuple[int, int, int] | None = None
        self._resident: tuple[Backend, Array, list[Array]] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, _CHECKS[name](value) if name in _CHECKS else value)

    def _new_value(self, name: str, value: Any) -> Any:
        if name == "shuffle":
            self._check_sampling(value)
        return value if name in _CHECKS else super()._new_value(name, value)

    def _check_sampling(self, shuffle: bool) -> None:
        if self.sampling is not None and not shuffle:
            raise ArgumentError(
                "sampling: got it with shuffle=False; allowed: with shuffle=True, the order being drawn"
            )

    def _check_range(self, name: str, numbers: tuple[float, ...]) -> None:
        """Refuse numbers that would make batches which are not finite."""
        limits = np.finfo(self.dtype)
        low = float(limits.smallest_normal) if name == "std" else 0.0  # what is smaller is flushed to zero
        if not all(low <= abs(number) <= float(limits.max) for number in numbers):
            within = f"from {low:.2g} to" if low else "of at most"
            raise ArgumentError(f"{name}: got {numbers}; allowed: numbers {within} {limits.max:.2g}, for {self.dtype}")

    @property
    def num_samples(self) -> int:
        """How many samples an epoch shows."""
        count = len(self._x)
        return count - count % self.batch_size if self.drop_last else count

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def __repr__(self) -> str:
        name = f"{len(self._x)} x {self._x.shape[1:]} {self._x.dtype}"
        dropped = ", drop_last=True" if self.drop_last else ""
        return f"DataLoader({name}, batch_size={self.batch_size}, shuffle={self.shuffle}{dropped})"

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the number of the epoch that the next ``iter()`` begins; each epoch begun counts it up.

        Parameters
        ----------
        epoch : int
            At least 0.
        """
        self.epoch = epoch

    def part(self, first: int, last: int, count: int) -> DataLoader:
        """Return a loader of the same batches that makes only some of their rows, for who trains by parts.

        Each batch is cut into `count` parts, equal but for one row, and comes as a list of those from `first` to
        ``last - 1``. A part is augmented by random numbers of its own, and images are mixed within it; what it looks
        like depends on `count`, and not on which parts are made here.

        Parameters
        ----------
        first, last : int
            The parts that are made here, `last` not included.
        count : int
            How many parts each batch is cut into.

        Returns
        -------
        DataLoader
            As long as this one; it shares the arrays.
        """
        parted = copy.copy(self)
        parted._part = first, last, count
        return parted

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        self.epoch += 1
        pieces = self._images(epoch) if self._of_images else self._rows(epoch)
        return pieces if self._part is None else _in_lists(pieces, self._part[1] - self._part[0])

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the arrays on a backend, which are made again."""
        return {**vars(self), "_resident": None}

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What it makes batches of: x, y, and weights if there are any."""
        return (self._x, self._y, *self._weight)

    @property
    def _is_mapped(self) -> bool:
        return isinstance(self._x, np.memmap)

    @property
    def _of_images(self) -> bool:
        return bool(self._x.dtype == np.uint8)

    def _images(self, epoch: int) -> Iterator[tuple[Array, ...]]:
        backend = get_backend()
        order = self._order(epoch)
        indices_of_all = backend.asarray(order)
        rest = [take_rows(backend, array, indices_of_all) for array in self._on(backend)[1]]
        mean, std = (backend.asarray(np.array(values, self.dtype)) for values in (self.mean, self.std))
        change = self._change or _NOTHING
        shape = self._x.shape[1:]
        targets = backend.to_numpy(rest[0]) if self._classes else rest[0]
        sources = self._sources(backend, order)
        total = len(self) * (1 if self._part is None else self._part[2])
        for (number, begin, end), (images, indices) in zip(self._numbered_pieces(), sources, strict=True):
            x = backend.empty((end - begin, *shape), self.dtype)
            rows = np.zeros((0, 0))
            if begin == end:
                pass  # a part of a batch with fewer rows than parts
            elif isinstance(change, Changes):
                rows = change.rows(Draws(self.seed, epoch, begin, order[begin:end]), shape)
                backend.transform_images(images, indices, backend.asarray(rows), mean=mean, std=std, out=x)
            else:
                key = RandomKey(self.seed, AUGMENT_STREAM, (epoch * total + number) % 2**32)
                backend.augment(images, indices, mean=mean, std=std, flip=change.flip, pad=change.pad, key=key, out=x)
            y, *weights = (array[begin:end] for array in rest)
            if self._classes and isinstance(change, Changes) and begin < end:
                shares = shares_of(targets[begin:end], self._classes, self.dtype)
                y = backend.asarray(mixed_targets(rows, shares, shape, self.dtype))
            yield (x, y, *weights)

    def _rows(self, epoch: int) -> Iterator[tuple[Array, ...]]:
        backend = get_backend()
        x, rest = self._on(backend)
        if not self.shuffle and not self._is_mapped:
            for begin, end in self._pieces():
                yield (x[begin:end], *(array[begin:end] for array in rest))
            return
        order = self._order(epoch)
        indices = backend.asarray(order)
        for (begin, end), (rows, places) in zip(self._pieces(), self._sources(backend, order), strict=True):
            batch = rows if self._is_mapped else take_rows(backend, rows, places)
            yield (batch, *(take_rows(backend, array, indices[begin:end]) for array in rest))

    def _order(self, epoch: int) -> np.ndarray:
        if self._weights is not None and len(self._weights):
            return drawn(self._weights, self.seed, epoch)
        count = len(self._x)
        return shuffled(count, self.seed, epoch) if self.shuffle else np.arange(count)

    def _sources(self, backend: Backend, order: np.ndarray) -> Iterator[tuple[Array, Array]]:
        """Yield for each batch an array of the backend that has its rows, and where in it they are."""
        x, indices = self._on(backend)[0], backend.asarray(order)
        for begin, end in self._pieces():
            if self._is_mapped:
                rows = np.take(x, order[begin:end], 0)
                yield backend.asarray(rows), backend.asarray(np.arange(len(rows)))
            else:
                yield x, indices[begin:end]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        for _, begin, end in self._numbered_pieces():
            yield begin, end

    def _numbered_pieces(self) -> Iterator[tuple[int, int, int]]:
        """Yield number, begin and end of what comes of an epoch: batches, or parts of them."""
        first, last, count = self._part or (0, 1, 1)
        size, samples = self.batch_size, self.num_samples  # what is set meanwhile is of the next epoch
        for batch, begin in enumerate(range(0, samples, size)):
            rows = min(size, samples - begin)
            for part, (low, high) in enumerate(bounds(rows, count)[first:last], first):
                yield batch * count + part, begin + low, begin + high

    def _on(self, backend: Backend) -> tuple[Array, list[Array]]:
        """Return x, and y and weights if any, on the active backend; x as it is where it is mapped from a file."""
        if self._resident is None or self._resident[0] is not backend:
            x = self._x if self._is_mapped else backend.asarray(self._x)
            self._resident = backend, x, [backend.asarray(array) for array in (self._y, *self._weight)]
        return self._resident[1:]

    def _normalised(self, x: Array, *, changed: bool) -> Array:
        if changed:
            if isinstance(x, np.ndarray):
                x = np.asarray(x)  # for NumPy's arithmetic, not that of a derived class
            x = (x - np.array(self.mean, self.dtype)) / np.array(self.std, self.dtype)
        return x if x.dtype == self.dtype else x.astype(self.dtype)


def _arrays(dataset: Any) -> tuple[Array, ...]:
    """Return the arrays of a data set, or those given."""
    if isinstance(dataset, Dataset):
        return dataset.images, dataset.labels
    if not isinstance(dataset, tuple | list) or len(dataset) not in (2, 3):
        raise ArgumentError(
            f"dataset: got {type(dataset).__name__}; allowed: a Dataset, or a pair of arrays: DataLoader((x, y), ...),"
            " or three, (x, y, weight)"
        )
    x, y, *weight = dataset
    for name, array in zip(("x", "y", "weight"), dataset, strict=False):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise DTypeError(
                f"{name}: got {type(array).__name__}; allowed: an array (of a list numpy.asarray({name}) makes one)"
            )
        unmasked(array, name)
    if x.dtype != np.uint8:
        x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
        if x.dtype not in validate.FLOATS:
            raise DTypeError(
                f"x: got {x.dtype}; allowed: float32 or float64 (use x.astype('float32')), or images of uint8"
            )
    elif x.ndim != 4:
        raise ShapeError(f"x: got uint8 {tuple(x.shape)}; allowed: (M, H, W, C) for uint8 images")
    if y.dtype.kind not in "biuf":  # rows are gathered into memory of the pool, where references have no place
        raise DTypeError(f"y: got {y.dtype}; allowed: numbers")
    if not x.ndim or x.shape[:1] != y.shape[:1]:
        raise ShapeError(f"y: got shape {tuple(y.shape)}; allowed: one row for each of x, {tuple(x.shape)}")
    for array in weight:
        if array.dtype.kind not in "biuf" or array.shape != x.shape[:1]:
            raise ShapeError(
                f"weight: got {array.dtype} {tuple(array.shape)}; allowed: numbers ({x.shape[0]},), one for each sample"
            )
    return x, y, *weight


def _in_lists(pieces: Iterator[tuple[Array, ...]], size: int) -> Iterator[list[tuple[Array, ...]]]:
    while found := list(itertools.islice(pieces, size)):
        yield found


def _per_channel(
    values: Sequence[float] | None, default: float, dataset: Any, x: Array, name: str
) -> tuple[float, ...]:
    channels = x.shape[-1] if x.ndim > 1 else 1
    if values is None:
        values = getattr(dataset, name) if isinstance(dataset, Dataset) else [default] * channels
    try:
        numbers = tuple(validate.number(value, name) for value in values)
    except (TypeError, ArgumentError):  # also of a text, which is read as numbers otherwise
        got = validate.shown(values)
        raise ArgumentError(f"{name}: got {got}; allowed: {channels} finite numbers, one per channel") from None
    if len(numbers) != channels:
        raise ArgumentError(f"{name}: got {len(numbers)} numbers; allowed: {channels}, one per channel")
    return numbers
