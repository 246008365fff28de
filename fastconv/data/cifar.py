"""CIFAR-10 from a local directory (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import numpy as np

from fastconv.data._pickles import read_pickled_batch
from fastconv.data.dataset import Dataset
from fastconv.errors import ArgumentError, DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_IMAGES_PER_BATCH = 10_000
_PIXELS = 3 * 32 * 32
# Of the published pickled files: size and MD5. The binary version has none that are published.
_PUBLISHED = {
    "data_batch_1": (31_035_704, "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": (31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": (31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": (31_035_696, "634d18415352ddfa80567beed471001a"),
    "data_batch_5": (31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
    "test_batch": (31_035_526, "40351d587109b95175f43aff81a1287e"),
}
_BINARY, _PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"


def default_directory() -> Path:
    """Return where data sets are looked for.

    FASTCONV_DATA_DIR, else ``$XDG_CACHE_HOME/fastconv/datasets``, else ``~/.cache/fastconv/datasets``.
    """
    chosen = os.environ.get("FASTCONV_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv" / "datasets"


def cifar10(directory: str | os.PathLike[str] | None = None, split: Literal["train", "test"] = "train") -> Dataset:
    """Read CIFAR-10: 50,000 training or 10,000 test images of 32x32 pixels in 10 classes.

    Parameters
    ----------
    directory : path or None
        The folder `cifar-10-batches-bin` (the binary version) or `cifar-10-batches-py` (the Python version), or the
        folder that holds it; `default_directory` by default. Pickled files are read without running anything in them;
        one of the size of the published file must have its MD5 too.
    split : "train" or "test"

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
    """
    if split not in _BATCHES:
        raise ArgumentError(f"split: got {split!r}; allowed: {', '.join(_BATCHES)}")
    root = Path(directory).expanduser() if directory is not None else default_directory()
    folder, suffix = _find(root)
    paths = [folder / f"{name}{suffix}" for name in _BATCHES[split]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"cifar10: {folder} lacks {', '.join(missing)}; allowed: all six batches. {_how_to_get(root)}")
    images = np.empty((len(paths) * _IMAGES_PER_BATCH, 32, 32, 3), np.uint8)
    labels = np.empty(len(images), np.int32)
    for number, path in enumerate(paths):
        part = slice(number * _IMAGES_PER_BATCH, (number + 1) * _IMAGES_PER_BATCH)
        planes, labels[part] = (_read_binary if suffix else _read_pickled)(path)
        _check_pixels(path, planes)
        images[part] = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Dataset(f"cifar10/{split}", images, labels, CLASS_NAMES, MEAN, STD)


def _find(root: Path) -> tuple[Path, str]:
    for folder, suffix in ((root / _BINARY, ".bin"), (root, ".bin"), (root / _PICKLED, ""), (root, "")):
        if any((folder / f"{name}{suffix}").is_file() for names in _BATCHES.values() for name in names):
            return folder, suffix
    raise DataError(
        f"cifar10: no batches in {root}; allowed: a folder with {_BINARY} or {_PICKLED}. {_how_to_get(root)}"
    )


def _how_to_get(root: Path) -> str:
    return (
        "To get the data, download the binary version from https://www.cs.toronto.edu/~kriz/cifar.html,"
        f" unpack it with 'tar -xzf cifar-10-binary.tar.gz -C {root}', and name that folder with --data-dir, as the"
        " argument 'directory', or in the environment variable FASTCONV_DATA_DIR"
    )


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    size = _IMAGES_PER_BATCH * (1 + _PIXELS)
    if path.stat().st_size != size:
        raise DataError(f"{path}: got {path.stat().st_size:,} bytes; allowed: exactly {size:,}; unpack it again")
    records = np.fromfile(path, np.uint8, size).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], _checked_labels(path, records[:, 0])


def _read_pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    _check_published(path)
    data, labels = read_pickled_batch(path)
    if data.dtype != np.uint8 or data.shape != (_IMAGES_PER_BATCH, _PIXELS):
        raise DataError(f"{path}: got data {data.dtype} {data.shape}; allowed: uint8 ({_IMAGES_PER_BATCH}, {_PIXELS})")
    if labels.shape != (_IMAGES_PER_BATCH,):
        raise DataError(f"{path}: got {labels.size} labels; allowed: {_IMAGES_PER_BATCH}")
    return data, _checked_labels(path, labels)


def _checked_labels(path: Path, labels: np.ndarray) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
        raise DataError(
            f"{path}: got labels from {labels.min()} to {labels.max()}; allowed: 0 to {len(CLASS_NAMES) - 1}"
        )
    return labels


def _check_published(path: Path) -> None:
    """Refuse a file that has the size of a published one, but other bytes; all others may hold any images."""
    size, digest = _PUBLISHED[path.name]
    if path.stat().st_size != size:
        return
    with path.open("rb") as file:
        got = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if got != digest:
        raise DataError(
            f"{path}: got the MD5 {got} at the size of the published file; allowed: {digest}; unpack it again"
        )


def _check_pixels(path: Path, planes: np.ndarray) -> None:
    """Refuse what a download that broke off, or a hole in a file, leaves: zeros where images should be.

    No image of CIFAR-10 is black, and none ends with more than 118 zeros; one that ends with a plane of zeros, before
    such an image or the end of the file, was cut off within.
    """
    empty = np.flatnonzero(~planes.any(1))
    last = int(empty[0]) - 1 if len(empty) else len(planes) - 1
    cut = last >= 0 and not planes[last, -1024:].any()
    if len(empty) or cut:
        raise DataError(
            f"{path}: got {len(empty) + cut} images of zeros, the first of them record {last + 1 - cut} (counted from"
            " 0); allowed: images; unpack it again"
        )
