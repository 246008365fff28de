"""Data sets from arrays: in memory, in .npz archives, in .npy files larger than memory, from a Python generator."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import unknown_argument
from fastconv._files import home_path_of
from fastconv.data._directory import PathLike
from fastconv.data._npy import HEADERS, Rows, RowsInFile, mapped, reading_header
from fastconv.data.dataset import Dataset, names_in_order
from fastconv.data.statistics import channel_statistics
from fastconv.errors import ArgumentError, DataError

_Result = TypeVar("_Result")
_SETTINGS = ("class_names", "mean", "std")
_MOST_CLASSES = 2**20  # what makes numbers as large is no numbering of classes
_DAMAGE = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zlib.error)


def arrays(
    images: np.ndarray | PathLike,
    labels: Any,
    *,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """Make a data set of arrays, or of .npy files that may be larger than memory.

    Parameters
    ----------
    images : uint8 array (M, H, W, C), or (M, H, W) for one channel, or path
        A path names a .npy file, which is mapped into memory and read where a batch needs it.
    labels : integers or strings (M,) or (M, 1), or path of a .npy file
        Integers are positions in `class_names`; strings are names of classes.
    name : str
        Of the data set.
    class_names : sequence of str or None
        By default the numbers from 0 to the largest label, or the strings in order.
    mean, std : sequence of C floats or None
        By default those of `images`, which are read once for them.

    Returns
    -------
    Dataset
        Of these images; a file stays mapped.

    Raises
    ------
    DataError
        The arrays are not of this form or do not fit together, or a file is no whole .npy file.

    Examples
    --------
    >>> images, labels = np.zeros((3, 8, 8, 3), np.uint8), ["cat", "dog", "cat"]
    >>> data = fc.data.arrays(images, labels)
    >>> data.class_names, data.labels
    (('cat', 'dog'), array([0, 1, 0], dtype=int32))
    """
    images = _array(images, "images")
    labels = _array(labels, "labels")
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"images: got {images.dtype} {images.shape}; allowed: uint8 (M, H, W, C) or (M, H, W)")
    numbers, names = _numbered(labels, class_names)
    if mean is None or std is None:
        found = channel_statistics(images)
        mean, std = found[0] if mean is None else mean, found[1] if std is None else std
    each = "a number for each channel"
    return Dataset(name, images, numbers, names, _listed(mean, "mean", each), _listed(std, "std", each))


def npz(
    path: PathLike, split: str = "train", *, images: str | None = None, labels: str | None = None, **settings: Any
) -> Dataset:
    """Read a data set from a .npz archive of NumPy; nothing in it is unpickled.

    Parameters
    ----------
    path : path
        Of the archive.
    split : str
        Which arrays are looked for: ``x_train`` and ``y_train`` or ``train_images`` and ``train_labels`` for "train",
        else ``images`` and ``labels``, or ``x`` and ``y``.
    images, labels : str or None
        Names of the arrays, where they are others.
    **settings
        `class_names`, `mean` and `std`, as for `arrays`.

    Returns
    -------
    Dataset
        Of these arrays.

    Raises
    ------
    DataError
        The file is no whole archive, has no such arrays, or they are not what `arrays` takes.

    Examples
    --------
    >>> np.savez("small.npz", x_train=np.zeros((3, 4, 4, 1), np.uint8), y_train=[0, 1, 0])
    >>> fc.data.npz("small.npz").labels
    array([0, 1, 0], dtype=int32)
    """
    _check_settings("npz", settings, ("path", "split", "images", "labels"))
    if (images is None) != (labels is None):
        raise ArgumentError(f"images, labels: got {images!r} and {labels!r}; allowed: the names of both, or neither")
    for key, value in (("split", split), ("images", images), ("labels", labels)):
        if value is not None and not (isinstance(value, str) and value):
            raise ArgumentError(f"{key}: got {validate.shown(value)}; allowed: a name of arrays, a text")
    path = home_path_of(path, "path")

    def read() -> tuple[np.ndarray, np.ndarray]:
        with HEADERS, reading_header(), path.open("rb") as file:  # which NumPy would leave open where it is damaged
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            pairs = [(images, labels)] if images and labels else _usual_names(split)
            for pair in pairs:
                if set(pair) <= set(archive.files):
                    return archive[pair[0]], archive[pair[1]]
            wanted = ", ".join(" and ".join(pair) for pair in pairs)
            raise DataError(f"{path}: got the arrays {', '.join(archive.files) or 'none'}; allowed: {wanted}")

    x, y = read_whole(path, read, "a .npz archive of arrays")
    return arrays(x, y, name=f"{path.stem}/{split}", **settings)


def generated(
    samples: Iterable[tuple[Any, Any]], *, name: str = "generated", file: PathLike | None = None, **settings: Any
) -> Dataset:
    """Make a data set of what a Python generator yields.

    Parameters
    ----------
    samples : iterable of pairs (image, label)
        It is run to its end, once. An image is uint8 (H, W, C) or (H, W), all of one shape; labels are as for `arrays`.
    name : str
        Of the data set.
    file : path or None
        Where the images go as they come, a .npy file that is mapped into memory then: for more of them than fit into
        it. It appears when it is whole; what had its name before stays until then. By default they stay in memory.
    **settings
        `class_names`, `mean` and `std`, as for `arrays`.

    Returns
    -------
    Dataset
        What was generated, in its order.

    Raises
    ------
    DataError
        A sample, which the message counts from 0, is no such pair, or there is none.

    Examples
    --------
    >>> samples = ((np.full((4, 4), 10 * i, np.uint8), i % 2) for i in range(6))
    >>> data = fc.data.generated(samples)
    >>> data.images.shape, data.labels
    ((6, 4, 4, 1), array([0, 1, 0, 1, 0, 1], dtype=int32))
    """
    _check_settings("generated", settings, ("samples", "name", "file"))
    if not isinstance(samples, Iterable):
        got = validate.kind_of(samples)
        raise DataError(f"samples: got {got}; allowed: an iterable of pairs (image, label), such as a generator called")
    labels: list[Any] = []
    with ExitStack() as stack:
        images = Rows() if file is None else RowsInFile(file, stack)
        for sample in samples:
            if not isinstance(sample, tuple | list) or len(sample) != 2:
                raise DataError(
                    f"samples: got {type(sample).__name__} as sample {len(labels)}; allowed: (image, label)"
                )
            image = np.asanyarray(sample[0])
            if isinstance(image, np.ma.MaskedArray):
                raise DataError(
                    f"samples: got a masked array as sample {len(labels)}; allowed: an image without a mask"
                )
            shape = images.shape or image.shape
            if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape != shape:
                like = f"{shape}, as before" if images.shape else "(H, W, C) or (H, W)"
                raise DataError(
                    f"samples: got an image {image.dtype} {image.shape} as sample {len(labels)}; allowed: uint8 {like}"
                )
            images.append(image)
            labels.append(sample[1])
        if not labels:
            raise DataError(f"samples: got none from {type(samples).__name__}; allowed: one or more")
        rows = images.finish()
    return arrays(rows, labels, name=name, **settings)


def _check_settings(label: str, settings: Iterable[str], own: tuple[str, ...]) -> None:
    """Refuse a setting that `arrays` does not take, before anything is read."""
    for name in settings:
        if name not in _SETTINGS:
            raise unknown_argument(label, name, (*own, *_SETTINGS))


def _usual_names(split: str) -> list[tuple[str, str]]:
    return [(f"x_{split}", f"y_{split}"), (f"{split}_images", f"{split}_labels"), ("images", "labels"), ("x", "y")]


def _array(value: Any, name: str) -> np.ndarray:
    """Return an array as it is, or map that of a .npy file into memory."""
    if isinstance(value, str | os.PathLike):
        path = home_path_of(value, name)
        return read_whole(path, lambda: mapped(path), "a whole .npy file of numbers")
    if isinstance(value, np.ma.MaskedArray) or (name == "images" and not isinstance(value, np.ndarray)):
        raise DataError(f"{name}: got {type(value).__name__}; allowed: a NumPy array, or the path of a .npy file")
    try:
        return np.asanyarray(value)
    except ValueError:  # lists of several lengths
        raise DataError(f"{name}: got {validate.shown(value)}; allowed: integers or strings (M,)") from None


def read_whole(path: PathLike, read: Callable[[], _Result], allowed: str) -> _Result:
    """Read a file; DataError where it cannot be read or is damaged."""
    from zipfile import BadZipFile

    try:
        return read()
    except DataError:
        raise
    except (*_DAMAGE, BadZipFile) as error:
        # Without NumPy's advice to unpickle.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "a damaged or foreign file"
        raise DataError(f"{path}: got {reason}; allowed: {allowed}") from error


def _listed(value: Iterable[Any], name: str, allowed: str) -> tuple[Any, ...]:
    """Return several values as a tuple; a string is one value, and a number is none of several."""
    try:
        if isinstance(value, str):
            raise TypeError
        return tuple(value)
    except TypeError:  # also of an array without axes
        raise DataError(f"{name}: got {value!r:.100}; allowed: {allowed}") from None


def _numbered(labels: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels as positions in names of classes, and these."""
    given = None if class_names is None else names_in_order(class_names)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iubU":
        raise DataError(f"labels: got {labels.dtype} {labels.shape}; allowed: integers or strings (M,)")
    if labels.dtype.kind == "U":
        names = tuple(sorted(set(labels.tolist()))) if given is None else each_once(given)
        place = {name: number for number, name in enumerate(names)}
        unknown = sorted(set(labels.tolist()) - set(place))
        if unknown:
            raise DataError(f"labels: got {unknown[0]!r}; allowed: {', '.join(names)}")
        return np.array([place[name] for name in labels.tolist()], np.int32), names
    if labels.size and not 0 <= labels.min() <= labels.max() < 2**31 - 1:
        raise DataError(f"labels: got values from {labels.min()} to {labels.max()}; allowed: numbers of classes from 0")
    numbers = labels.astype(np.int32)
    count = int(numbers.max()) + 1 if numbers.size else 0
    if given is None and count > _MOST_CLASSES:
        raise DataError(
            f"labels: got {count - 1}; allowed: numbers of classes below {_MOST_CLASSES:,}, or class_names with a name"
            " for each"
        )
    return numbers, tuple(map(str, range(count))) if given is None else given


def each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names that images are told apart by; DataError where one comes twice."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"class_names: got {twice!r} twice; allowed: each name once")
    return names
