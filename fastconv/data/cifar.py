"""CIFAR-10 and CIFAR-100 from a local directory.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fastconv import _validate as validate
from fastconv.data._directory import PathLike, Split, check_split, how_to_get, root_of
from fastconv.data._pickles import read_pickled_batch
from fastconv.data.dataset import Dataset
from fastconv.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_IMAGES_PER_BATCH = 10_000
_PIXELS = 3 * 32 * 32
# Zeros one after the other in an image of CIFAR-10, within it and at the end of a file, that are damage. The published
# images, all 60,000 measured, have at most 528 (record 9598 of data_batch_1), and end with at most 118.
_ZEROS_WITHIN, _ZEROS_AT_END = 768, 256
# Of the published pickled files: size and MD5. The binary version has none that are published.
_PUBLISHED = {
    "data_batch_1": (31_035_704, "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": (31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": (31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": (31_035_696, "634d18415352ddfa80567beed471001a"),
    "data_batch_5": (31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
    "test_batch": (31_035_526, "40351d587109b95175f43aff81a1287e"),
    "train": (155_249_918, "16019d7e3df5f24257cddd939b257f8d"),  # of CIFAR-100, as is the next
    "test": (31_049_707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
}
_FINE = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle"
    " caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant"
    " flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man"
    " maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree"
    " plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper"
    " snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train"
    " trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_COARSE = (
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture"
    " insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes"
    " large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees"
    " vehicles_1 vehicles_2"
)


@dataclass(frozen=True)
class _CifarLayout:
    """How one of the two sets lies on the disk.

    Attributes
    ----------
    binary, pickled : str
        The folders of the binary and of the Python version.
    files : dict
        For each split its files, and how many times `_IMAGES_PER_BATCH` images are in each.
    label_bytes, label_at : int
        How many labels a binary record begins with, and which of them it is.
    label_key : str
        What that label is called in a pickle.
    """

    name: str
    binary: str
    pickled: str
    files: dict[str, dict[str, int]]
    label_bytes: int
    label_at: int
    label_key: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


_CIFAR10 = _CifarLayout(
    *("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py"),
    {"train": {f"data_batch_{i}": 1 for i in range(1, 6)}, "test": {"test_batch": 1}},
    *(1, 0, "labels"),
    *(CLASS_NAMES, MEAN, STD),
)
_CIFAR100 = {
    labels: _CifarLayout(
        *("cifar100", "cifar-100-binary", "cifar-100-python"),
        {"train": {"train": 5}, "test": {"test": 1}},
        *(2, position, f"{labels}_labels"),
        *(tuple(names.split()), (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    )
    for position, (labels, names) in enumerate((("coarse", _COARSE), ("fine", _FINE)))
}


def cifar10(directory: PathLike | None = None, split: Split = "train") -> Dataset:
    """Read CIFAR-10: 50,000 training or 10,000 test images of 32x32 pixels in 10 classes.

    Parameters
    ----------
    directory : path or None
        The folder `cifar-10-batches-bin` (the binary version) or `cifar-10-batches-py` (the Python version), or the
        folder that holds it; `default_directory` by default. Pickled files are read without running anything in them;
        one of the size of the published file must have its MD5 too.
    split : "train" or "test"
        Which images.

    Returns
    -------
    Dataset
        Images (M, 32, 32, 3) as RGB, in the order of the files.

    Raises
    ------
    DataError
        The data is not there (the message says how to get it), incomplete, or damaged.
    ArgumentError
        There is no such split.

    References
    ----------
    https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> fc.data.cifar10(split="test").images.shape  # doctest: +SKIP
    (10000, 32, 32, 3)
    """
    return _read(_CIFAR10, directory, split)


def cifar100(
    directory: PathLike | None = None, split: Split = "train", labels: Literal["fine", "coarse"] = "fine"
) -> Dataset:
    """Read CIFAR-100: 50,000 training or 10,000 test images of 32x32 pixels in 100 classes, or in 20 coarse ones.

    All else is as in `cifar10`, errors too.

    Parameters
    ----------
    directory : path or None
        As of `cifar10`; the folders are `cifar-100-binary` and `cifar-100-python`.
    split : "train" or "test"
        Which images.
    labels : "fine" or "coarse"
        One of 100 classes, or of 20.

    Returns
    -------
    Dataset
        Images (M, 32, 32, 3) as RGB, in the order of the files.

    Examples
    --------
    >>> len(fc.data.cifar100(split="test", labels="coarse").class_names)  # doctest: +SKIP
    20
    """
    return _read(_CIFAR100[validate.one_of(labels, "labels", _CIFAR100)], directory, split)


def _read(layout: _CifarLayout, directory: PathLike | None, split: Split) -> Dataset:
    check_split(split)
    root = root_of(directory)
    folder, suffix = _find(layout, root)
    counts = {folder / f"{name}{suffix}": n * _IMAGES_PER_BATCH for name, n in layout.files[split].items()}
    missing = [path.name for path in counts if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"{layout.name}: {folder} lacks {', '.join(missing)}; allowed: all files."
            f" {how_to_get(layout.name, _PAGE, root)}"
        )
    images = np.empty((sum(counts.values()), 32, 32, 3), np.uint8)
    labels = np.empty(len(images), np.int32)
    begin = 0
    for path, count in counts.items():
        part = slice(begin, begin + count)
        planes, labels[part] = (_read_binary if suffix else _read_pickled)(layout, path, count)
        _check_pixels(layout, path, planes)
        images[part] = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        begin += count
    return Dataset(f"{layout.name}/{split}", images, labels, layout.class_names, layout.mean, layout.std)


def _find(layout: _CifarLayout, root: Path) -> tuple[Path, str]:
    places = ((root / layout.binary, ".bin"), (root, ".bin"), (root / layout.pickled, ""), (root, ""))
    for folder, suffix in places:
        if any(os.path.isfile(folder / f"{name}{suffix}") for names in layout.files.values() for name in names):
            return folder, suffix
    raise DataError(
        f"{layout.name}: no batches in {root}; allowed: a folder with {layout.binary} or {layout.pickled}."
        f" {how_to_get(layout.name, _PAGE, root)}"
    )


def _read_binary(layout: _CifarLayout, path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    size = count * (layout.label_bytes + _PIXELS)
    if path.stat().st_size != size:
        raise DataError(f"{path}: got {path.stat().st_size:,} bytes; allowed: exactly {size:,}; unpack it again")
    records = np.fromfile(path, np.uint8, size).reshape(count, -1)
    return records[:, layout.label_bytes :], _checked_labels(layout, path, records[:, layout.label_at])


def _read_pickled(layout: _CifarLayout, path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    _check_published(path)
    largest = 2 * _PIXELS * max(count, 10_000)  # a batch of 10,000 has 31 MB
    data, labels = read_pickled_batch(path, layout.label_key, largest)
    if data.dtype != np.uint8 or data.shape != (count, _PIXELS):
        raise DataError(f"{path}: got data {data.dtype} {data.shape}; allowed: uint8 ({count}, {_PIXELS})")
    if labels.shape != (count,):
        raise DataError(f"{path}: got {labels.size} labels; allowed: {count}")
    return data, _checked_labels(layout, path, labels)


def _checked_labels(layout: _CifarLayout, path: Path, labels: np.ndarray) -> np.ndarray:
    last = len(layout.class_names) - 1
    if labels.min() < 0 or labels.max() > last:
        raise DataError(f"{path}: got labels from {labels.min()} to {labels.max()}; allowed: 0 to {last}")
    return labels


def _check_published(path: Path) -> None:
    """Refuse a file that has the size of a published one, but other bytes; all others may hold any images."""
    size, digest = _PUBLISHED.get(path.name, (-1, ""))
    if path.stat().st_size != size:
        return
    with path.open("rb") as file:
        got = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if got != digest:
        raise DataError(
            f"{path}: got the MD5 {got} at the size of the published file; allowed: {digest}; unpack it again"
        )


def _check_pixels(layout: _CifarLayout, path: Path, planes: np.ndarray) -> None:
    """Refuse what a download that broke off, or a hole in a file, leaves: zeros where images should be.

    Of CIFAR-100 only a black last image is taken for damage.
    """
    if layout is not _CIFAR10:
        damaged = np.flatnonzero(~planes.any(1)) if not planes[-1].any() else np.empty(0, np.intp)
    else:
        damaged = _with_long_zeros(planes)
        last = len(planes) - 1
        if last not in damaged and not planes[last, -_ZEROS_AT_END:].any():
            damaged = np.append(damaged, last)
    if len(damaged):
        limits = f", with {_ZEROS_WITHIN} one after the other" if layout is _CIFAR10 else ""
        raise DataError(
            f"{path}: got {len(damaged)} images of zeros, the first of them record {damaged[0]} (counted from 0{limits}"
            f"{f' or {_ZEROS_AT_END} at the end of the file' if limits else ''}); allowed: images; unpack it again"
        )


def _with_long_zeros(planes: np.ndarray) -> np.ndarray:
    """Return the images with `_ZEROS_WITHIN` zeros one after the other, or more.

    So many lie over each of some neighbouring places half as far apart, so that only the few images with zeros there
    are looked at as a whole.
    """
    few = np.flatnonzero((planes[:, :: _ZEROS_WITHIN // 2] == 0).any(1))
    place = np.arange(planes.shape[1], dtype=np.int16)
    before = np.maximum.accumulate(np.where(planes[few] == 0, np.int16(-1), place), axis=1)  # the last that is none
    found: np.ndarray = few[(place - before).max(1, initial=0) >= _ZEROS_WITHIN]
    return found
