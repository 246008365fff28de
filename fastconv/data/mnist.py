"""MNIST and Fashion-MNIST from local IDX files.

Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998; H. Xiao et al., Fashion-MNIST, 2017,
https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data._directory import PathLike, Split, check_split, how_to_get, root_of
from fastconv.data.dataset import Dataset
from fastconv.data.idx import read_idx
from fastconv.errors import DataError

_PREFIXES = {"train": "train", "test": "t10k"}
_PARTS = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}
# Labels 0 one after the other, at the end and anywhere, that no mixed classes have. Fashion-MNIST's files, measured,
# have at most 5 equal ones; of balanced classes in a random order 20 zeros at the end come once in 10**20 files.
_ZEROS_AT_END, _ZEROS_WITHIN = 20, 500  # the latter is what a lost sector of 512 bytes leaves


@dataclass(frozen=True)
class _IdxLayout:
    """One of the two sets: the folders it may lie in, and what it shows."""

    name: str
    folders: tuple[str, ...]
    page: str
    class_names: tuple[str, ...]
    mean: float
    std: float


_MNIST = _IdxLayout(
    "mnist", ("mnist", "MNIST/raw", ""), "http://yann.lecun.com/exdb/mnist/", tuple("0123456789"), 0.1307, 0.3081
)
_FASHION = _IdxLayout(
    "fashion-mnist",
    ("fashion-mnist", "FashionMNIST/raw", ""),
    "https://github.com/zalandoresearch/fashion-mnist",
    ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    0.2860,
    0.3530,
)


def mnist(directory: PathLike | None = None, split: Split = "train") -> Dataset:
    """Read MNIST: 60,000 training or 10,000 test images of handwritten digits, 28x28 pixels.

    Parameters
    ----------
    directory : path or None
        The folder with the files ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte`` and so on, ``.gz`` after
        them or not, or the folder that holds it as ``mnist`` or ``MNIST/raw``; `default_directory` by default.
    split : "train" or "test"
        Which images.

    Returns
    -------
    Dataset
        Images (M, 28, 28, 1), in the order of the file.

    Raises
    ------
    DataError
        The data is not there (the message says how to get it), incomplete, or damaged.
    ArgumentError
        There is no such split.

    Examples
    --------
    >>> fc.data.mnist(split="test").images.shape  # doctest: +SKIP
    (10000, 28, 28, 1)
    """
    return _read(_MNIST, directory, split)


def fashion_mnist(directory: PathLike | None = None, split: Split = "train") -> Dataset:
    """Read Fashion-MNIST: 60,000 training or 10,000 test images of clothes, 28x28 pixels, in 10 classes.

    All is as in `mnist`; the folders are ``fashion-mnist`` and ``FashionMNIST/raw``.

    Parameters
    ----------
    directory : path or None
        As of `mnist`; the folders are ``fashion-mnist`` and ``FashionMNIST/raw``.
    split : "train" or "test"
        Which images.

    Returns
    -------
    Dataset
        Images (M, 28, 28, 1), in the order of the file.

    Examples
    --------
    >>> fc.data.fashion_mnist(split="test").class_names[:3]  # doctest: +SKIP
    ('T-shirt', 'trouser', 'pullover')
    """
    return _read(_FASHION, directory, split)


def _read(layout: _IdxLayout, directory: PathLike | None, split: Split) -> Dataset:
    check_split(split)
    root = root_of(directory)
    images_path, labels_path = _find(layout, root, _PREFIXES[split])
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise DataError(f"{images_path}: got {images.dtype} {images.shape}; allowed: images, uint8 (M, H, W)")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{labels_path}: got {labels.dtype} {labels.shape}; allowed: a label for each of {len(images)} images"
        )
    if labels.size and labels.max() >= len(layout.class_names):
        raise DataError(f"{labels_path}: got the label {labels.max()}; allowed: 0 to {len(layout.class_names) - 1}")
    _check_labels(labels_path, labels)
    _check_pixels(images_path, images)
    return Dataset(
        f"{layout.name}/{split}",
        images[..., None],
        labels.astype(np.int32),
        layout.class_names,
        (layout.mean,),
        (layout.std,),
    )


def _find(layout: _IdxLayout, root: Path, prefix: str) -> tuple[Path, Path]:
    """Return the files of images and labels, which lie in one folder."""
    wanted = [f"{prefix}-{part}-{kind}" for part, kind in _PARTS.items()]
    for folder in layout.folders:
        found = [
            path
            for name in wanted
            for path in (root / folder / name, root / folder / f"{name}.gz")
            if os.path.isfile(path)
        ]
        if found:
            missing = [name for name in wanted if not any(path.name.startswith(name) for path in found)]
            if missing:
                raise DataError(
                    f"{layout.name}: {root / folder} lacks {missing[0]}; allowed: images and labels."
                    f" {how_to_get(layout.name, layout.page, root)}"
                )
            return found[0], next(path for path in found if path.name.startswith(wanted[1]))
    raise DataError(
        f"{layout.name}: no {wanted[0]} in {root}; allowed: a folder with the IDX files."
        f" {how_to_get(layout.name, layout.page, root)}"
    )


def _check_labels(path: Path, labels: np.ndarray) -> None:
    """Refuse zeros where labels were, which would be read as images of the class 0.

    Images that lie class by class are another order of them, in which one class may well be the last.
    """
    begins = np.flatnonzero(np.diff(labels, prepend=255))
    if 1 < len(begins) == len(np.unique(labels)):
        return
    lengths = np.diff(begins, append=len(labels)) * (labels[begins] == 0)
    if not len(lengths):
        return
    run = len(lengths) - 1 if lengths[-1] >= _ZEROS_AT_END else int(lengths.argmax())
    if lengths[-1] >= _ZEROS_AT_END or lengths[run] >= _ZEROS_WITHIN:
        where = "at the end" if run == len(lengths) - 1 else f"from image {begins[run]} on"
        raise DataError(
            f"{path}: got {lengths[run]:,} labels 0 one after the other {where}; allowed: fewer than {_ZEROS_AT_END} at"
            f" the end and than {_ZEROS_WITHIN} elsewhere, or images class by class; unpack it again"
        )


def _check_pixels(path: Path, images: np.ndarray) -> None:
    """Refuse what a download that broke off, or a hole in a file, leaves; no image of the two sets is black."""
    empty = np.flatnonzero(~images.any((1, 2)))
    if len(empty):
        raise DataError(
            f"{path}: got {len(empty)} images of zeros, the first of them image {empty[0]}; allowed: images"
        )
