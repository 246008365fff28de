"""A data set that lies in several files, of which each process of a training opens its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv._files import home_path_of
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array
from fastconv.data._directory import PathLike
from fastconv.data._npy import mapped
from fastconv.data.arrays import arrays, read_whole
from fastconv.data.dataset import Dataset
from fastconv.data.loader import DataLoader
from fastconv.errors import ArgumentError, DataError
from fastconv.random import checked_seed, derived

_SETTINGS = ("shuffle", "augmentation", "drop_last", "dtype")  # of a `DataLoader`, one of which reads each file


class ShardFiles(Declared):
    """Batches of images in pairs of .npy files, one for each shard of a training: for ``Trainer(parallel=...)``.

    A shard's rows of every batch come from its own files, in a random order of their own in each epoch. A process maps
    the files of the shards that it computes into memory, and reads of them the rows of the present batch; of the others
    it reads the header alone. So a data set may be larger than the memory of any machine, or lie in parts on several.
    Which files belong to which shard does not depend on how many processes there are, nor do the bits.

    Where files are not equally long, the longest tells how many batches an epoch has; in the last ones some shards have
    fewer rows or none, and what there are counts each the same.

    Parameters
    ----------
    files : sequence of (images, labels)
        Paths of uint8 (M, H, W, C) and of integers or texts (M,), as many as `shards`.
    batch_size : int
        Of the batches of all shards together, a multiple of these.
    mean, std : sequence of float
        As of `DataLoader`; of all images, which are not read for them.
    class_names : sequence of str or None
        As of `arrays`, of all files: needed where labels are texts, and with `Mixup` and `CutMix` where a file lacks
        images of the last classes.
    seed : int
        Of the order and of augmentation.
    **settings
        `shuffle`, `augmentation`, `drop_last` and `dtype`, as of `DataLoader`.

    Examples
    --------
    >>> for shard in range(2):
    ...     np.save(f"images-{shard}.npy", np.zeros((6, 4, 4, 1), np.uint8))
    ...     np.save(f"labels-{shard}.npy", np.arange(6) % 2)
    >>> files = [(f"images-{shard}.npy", f"labels-{shard}.npy") for shard in range(2)]
    >>> len(fc.data.ShardFiles(files, 4, mean=(0.5,), std=(0.25,)))
    3
    """

    def __init__(
        self,
        files: Sequence[tuple[PathLike, PathLike]],
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        class_names: Sequence[str] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.files = _pairs(files)
        self.batch_size = validate.at_least_one(batch_size, "batch_size")
        if batch_size % len(self.files):
            raise ArgumentError(f"batch_size: got {batch_size}; allowed: a multiple of the {len(self.files)} files")
        unknown = [key for key in settings if key not in _SETTINGS]
        if unknown:
            raise ArgumentError(f"settings: got {unknown[0]!r}; allowed: {', '.join(_SETTINGS)}")
        shapes = [_shape_in(images) for images, _ in self.files]
        self.rows = tuple(shape[0] for shape in shapes)
        self._settings, self.seed = settings, checked_seed(seed)
        _try(shapes[0], mean, std, class_names, settings)
        self._normal = {"mean": tuple(mean), "std": tuple(std), "class_names": class_names}

    def __repr__(self) -> str:
        return f"ShardFiles({len(self.files)} of {sum(self.rows)} images, batch_size={self.batch_size})"

    def __len__(self) -> int:
        own, whole = self.batch_size // len(self.files), not self._settings.get("drop_last", False)
        return max(-(-rows // own) if whole else rows // own for rows in self.rows)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        raise ArgumentError("train: got ShardFiles in a training by one process; allowed: with parallel=DataParallel()")

    def facts(self) -> dict[str, Any]:
        """Return by what the data are known.

        Returns
        -------
        dict
            The names of the files, their rows, the seed, and the settings: the same on all ranks.
        """
        names = [(images.name, labels.name) for images, labels in self.files]
        return {"files": names, "rows": self.rows, "seed": self.seed, **self._normal, **self._settings}

    def part(self, first: int, last: int, count: int) -> OwnFiles:
        """Return batches of some of the files: see `DataLoader.part`.

        Parameters
        ----------
        first, last : int
            The files that are read here, `last` not included.
        count : int
            How many files there are.

        Returns
        -------
        iterable
            Of lists, one a batch, of a part from each of these files.
        """
        if count != len(self.files):
            raise ArgumentError(f"files: got {len(self.files)} pairs for {count} shards; allowed: one for each shard")
        return OwnFiles([self._loader(shard) for shard in range(first, last)], len(self))

    def _loader(self, shard: int) -> DataLoader:
        images, labels = self.files[shard]
        seed = derived(self.seed, f"shard {shard}", size=8)
        data = arrays(images, labels, name=str(images), **self._normal)  # type: ignore[arg-type]  # by their names
        if self._normal["class_names"] is None and mapped(labels).dtype.kind == "U":
            raise ArgumentError(
                f"class_names: got None for {labels}, whose labels are texts; allowed: the names of all classes, as"
                " each file alone would number those that it has"
            )
        return DataLoader(data, self.batch_size // len(self.files), seed=seed, **self._settings)


class OwnFiles:
    """The shards of a process, a list of them for each batch; a file that is at its end goes on with no rows."""

    def __init__(self, loaders: Sequence[DataLoader], length: int) -> None:
        self._loaders, self._length = loaders, length

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Hand it on to all."""
        for loader in self._loaders:
            loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[tuple[Array, ...]]]:
        sources = [chain(loader, repeat(_no_rows(loader))) for loader in self._loaders]
        for _ in range(self._length):
            yield [next(source) for source in sources]


def _no_rows(loader: DataLoader) -> tuple[Array, ...]:
    """Return a batch without a row, as a loader makes of a part that has none."""
    (x, y), backend = loader.arrays, get_backend()
    return backend.empty((0, *x.shape[1:]), loader.dtype), backend.asarray(y[:0])


def _pairs(files: Any) -> tuple[tuple[Path, Path], ...]:
    """Return the pairs of paths."""
    listed = isinstance(files, Iterable) and not isinstance(files, str | os.PathLike)
    pairs = tuple(files) if listed else (files,)
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ArgumentError(f"files: got {pair!r:.200}; allowed: a pair (images, labels) for each shard")
    if not pairs:
        raise ArgumentError("files: got none; allowed: a pair for each shard")
    return tuple((home_path_of(images, "files"), home_path_of(labels, "files")) for images, labels in pairs)


def _try(shape: tuple[int, ...], mean: Any, std: Any, names: Any, settings: dict[str, Any]) -> None:
    """Make a loader of one image, which refuses what would be refused only where the first batch is made."""
    image = np.zeros((1, *shape[1:], *(1,) * (4 - len(shape))), np.uint8)
    one = Dataset("one image", image, np.zeros(1, np.int32), ("0",) if names is None else names, mean, std)
    DataLoader(one, **settings)


def _shape_in(path: Path) -> tuple[int, ...]:
    """Return the shape that a .npy file of images says that it has."""
    images = read_whole(path, lambda: mapped(path), "a whole .npy file of images")
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"{path}: got {images.dtype} {images.shape}; allowed: uint8 (M, H, W, C) or (M, H, W)")
    return tuple(images.shape)
