"""Images from files, read by Pillow, and data sets from folders of them."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

import numpy as np

from fastconv import _validate as validate
from fastconv._files import followed, home_path_of, path_of
from fastconv.data._directory import PathLike
from fastconv.data._npy import Rows, RowsAtMost, RowsInFile
from fastconv.data.arrays import arrays, each_once
from fastconv.data.dataset import Dataset, names_in_order
from fastconv.errors import ArgumentError, DataError

Fit = Literal["crop", "resize"]
_Broken = Literal["raise", "skip"]
SUFFIXES = (".png", ".jpg", ".jpeg")
_PICTURES = (*SUFFIXES, ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".avif")
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # files that a system leaves beside those of its user
_AT_ONCE = 256  # images read before the next ones are begun
_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a JPEG, of a PNG
_DEEP = ("I", "F")  # modes of Pillow with more than 8 bits begin with these


def read_image(
    path: PathLike, size: tuple[int, int] | None = None, *, fit: Fit = "crop", channels: int = 3
) -> np.ndarray:
    """Read one image file with Pillow (the extra ``images``), turned as its EXIF data says.

    Parameters
    ----------
    path : path
        Of a PNG or JPEG file.
    size : (height, width) or None
        Of the result; by default the file's own.
    fit : "crop" or "resize"
        How another size becomes `size`: "crop" scales until both sides reach it and cuts off what is over, equally on
        both ends; "resize" stretches. Bilinear, over all pixels that a smaller image covers.
    channels : 3 or 1
        RGB or grey. What is transparent shows white.

    Returns
    -------
    (H, W, channels) uint8 array

    Raises
    ------
    DataError
        The file cannot be read, is broken, or has more than 8 bits a channel; or Pillow is not installed.
    ArgumentError
        An argument is none of these.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (40, 30), (255, 0, 0)).save("red.png")
    >>> image = fc.data.read_image("red.png", (8, 8))
    >>> image.shape, image[0, 0]
    ((8, 8, 3), array([255,   0,   0], dtype=uint8))
    """
    _check(size, fit, channels)
    return _read(_pillow(), home_path_of(path, "path"), size, fit, channels)


def image_folder(
    directory: PathLike,
    split: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: int = 3,
    broken: _Broken = "raise",
    class_names: Sequence[str] | None = None,
    file: PathLike | None = None,
) -> Dataset:
    """Read a folder of PNG and JPEG files with a folder in it for each class (the extra ``images``).

    Images are decoded some at a time and kept as they are computed with, ``height * width * channels`` bytes each:
    10,000 of 224x224 are 1.5 GB. With `file` they go to the disk instead, and batches read their own rows from there.

    Parameters
    ----------
    directory : path
        It holds ``CLASS/.../*.png`` or ``SPLIT/CLASS/.../*.png``, and images come in the order of their paths. Files of
        other kinds in there, and pictures beside the classes, are passed over, which one warning says; so are names
        that begin with a dot, without a word. Links to folders are followed.
    split : str or None
        The folder in `directory` that holds the classes, such as "train"; by default it is `directory` itself.
    size, fit, channels :
        As for `read_image`. Without a size all images must have one.
    broken : "raise" or "skip"
        What happens at a file that is no whole image; what is skipped is named in one warning.
    class_names : sequence of str or None
        The classes in order, for a part that must have those of another one; by default the folders' names, sorted.
    file : path or None
        Where the images go as they are read, a .npy file that is mapped into memory then, as `generated` has it: for
        folders that do not fit into memory. By default they stay there.

    Returns
    -------
    Dataset
        Images (M, H, W, channels), with the folders' names as classes.

    Raises
    ------
    DataError
        The folder, the images of a class, or Pillow are missing; an image is broken, or of another size than the
        first; or `file` cannot be written.
    ArgumentError
        An argument is none of these.

    Examples
    --------
    >>> import pathlib
    >>> from PIL import Image
    >>> for name in ("cat", "dog"):
    ...     pathlib.Path("photos", name).mkdir(parents=True)
    ...     Image.new("RGB", (40, 30)).save(f"photos/{name}/1.png")
    >>> data = fc.data.image_folder("photos", size=(32, 32))
    >>> data.images.shape, data.class_names
    ((2, 32, 32, 3), ('cat', 'dog'))
    """
    _check(size, fit, channels)
    validate.one_of(broken, "broken", get_args(_Broken))
    root = home_path_of(directory, "directory")
    root = root if split is None else root / path_of(split, "split")
    names = class_folders(root) if class_names is None else each_once(names_in_order(class_names))
    unknown = sorted(set(class_folders(root)) - set(names)) if class_names is not None else []
    if unknown:
        raise DataError(f"{root / unknown[0]}: got a class that is not known; allowed: {', '.join(names)}")
    files = [(path, name) for name in names for path in _files(root / name)]
    found = [(path, name) for path, name in files if path.suffix.lower() in SUFFIXES]
    others = [path for path, _ in files if path.suffix.lower() not in SUFFIXES] + _loose(root)
    with ExitStack() as stack:
        rows = RowsAtMost(len(found)) if file is None else RowsInFile(file, stack)
        labels = _read_all(found, rows, size, fit, channels, skip=broken == "skip")
        empty = [name for name in names if class_names is None and name not in labels]
        if empty or not labels:
            where = root / empty[0] if empty else root
            beside = f", but {_counted(others)}" if others else ""
            raise DataError(
                f"{where}: got no images{beside}; allowed: one or more {', '.join(SUFFIXES)} for each class"
            )
        if others:
            warnings.warn(
                f"{root}: passed over {_counted(others)}, which are not read as images (PNG and JPEG are), or lie in no"
                " class's folder",
                stacklevel=3,
            )
        images = rows.finish()
    whole = f"{root.parent.name}/{root.name}" if split is not None else followed(root).name
    return arrays(images, np.array(labels), name=whole, class_names=names)


def _check(size: tuple[int, int] | None, fit: str, channels: int) -> None:
    if size is not None and (
        not isinstance(size, Sequence) or len(size) != 2 or not all(type(n) is int and 0 < n < 2**16 for n in size)
    ):
        raise ArgumentError(f"size: got {validate.shown(size)}; allowed: (height, width), whole numbers from 1")
    validate.one_of(fit, "fit", get_args(Fit))
    if type(channels) is not int or channels not in (1, 3):
        raise ArgumentError(f"channels: got {validate.shown(channels)}; allowed: 3 (RGB), 1 (grey)")


def _pillow() -> ModuleType:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise DataError(
            f"Pillow: got {error}; allowed: an installation of it, pip install 'fastconv[images]'"
        ) from error
    return PIL


def class_folders(root: Path) -> tuple[str, ...]:
    """Return the names of the folders in `root`, sorted; DataError if there are none."""
    try:
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: got {error.strerror}; allowed: a folder with a folder for each class") from error
    if not names:
        raise DataError(f"{root}: got no folders in it; allowed: a folder with a folder for each class")
    return tuple(names)


def _files(folder: Path) -> list[Path]:
    """Return the files that a user put into a folder and those in it, sorted.

    Links to folders are followed, but for one that leads to where it is already: to a folder above, or read before.
    """
    found: list[Path] = []
    been = set(map(str, Path(os.path.realpath(folder)).parents))
    for place, folders, names in os.walk(folder, onerror=_refuse_unread, followlinks=True):
        real = os.path.realpath(place)
        if real in been:
            folders.clear()
            continue
        been.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in names if not name.startswith(".") and name.lower() not in _OF_SYSTEMS]
    return sorted(found)


def _refuse_unread(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a class of which there are no images here
        raise DataError(f"{error.filename}: got {error.strerror}; allowed: a folder that can be read") from error


def _loose(root: Path) -> list[Path]:
    """Return the pictures beside the folders of the classes; a list of names, or a licence, belongs there."""
    found = (Path(entry) for entry in os.scandir(root) if not entry.is_dir() and not entry.name.startswith("."))
    return [path for path in found if path.suffix.lower() in _PICTURES]


def _counted(paths: list[Path]) -> str:
    """Say how many files there are of each kind: ``2 .gif, 1 .webp``."""
    kinds = Counter(path.suffix.lower() or "files without a suffix" for path in paths)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _read_all(
    found: list[tuple[Path, str]], rows: Rows, size: tuple[int, int] | None, fit: str, channels: int, *, skip: bool
) -> list[str]:
    """Collect the images that can be read in `rows`, and return the names of their classes."""
    from concurrent.futures import ThreadPoolExecutor

    pillow = _pillow()
    labels: list[str] = []
    skipped: list[DataError] = []

    def read(path: Path) -> np.ndarray | DataError:
        if path.exists() and not path.is_file():  # nobody may ever write into a pipe
            return DataError(f"{path}: got a pipe or a device; allowed: an image file")
        try:
            return _read(pillow, path, size, fit, channels)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:  # Pillow unpacks and scales without the interpreter's lock
        for begin in range(0, len(found), _AT_ONCE):
            part = found[begin : begin + _AT_ONCE]
            for (path, label), image in zip(part, pool.map(read, (path for path, _ in part)), strict=True):
                if isinstance(image, DataError):
                    if not skip:
                        raise image
                    skipped.append(image)
                    continue
                if not labels:
                    first = path
                elif image.shape != rows.shape:
                    raise DataError(
                        f"{path}: got {_size(image.shape)} pixels where {first} has {_size(rows.shape)}; allowed:"
                        " images of one size, or a size to make them equal"
                    )
                rows.append(image)
                labels.append(label)
    if skipped:
        warnings.warn(f"skipped {len(skipped)} of {len(found)} images: {'; '.join(map(str, skipped))}", stacklevel=4)
    return labels


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _read(pillow: ModuleType, path: Path, size: tuple[int, int] | None, fit: str, channels: int) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: got {error.strerror}; allowed: an image that can be read") from error
    if data and not data[-512:].strip(b"\0") and not data.rstrip(b"\0").endswith(_ENDS):
        raise DataError(f"{path}: got a file that ends with zeros; allowed: a whole PNG or JPEG")
    try:
        with pillow.Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.mode.startswith(_DEEP):
                raise DataError(f"{path}: got pixels of Pillow's mode {image.mode}; allowed: 8 bits a channel")
            image = pillow.ImageOps.exif_transpose(image)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = pillow.Image.alpha_composite(pillow.Image.new("RGBA", image.size, "white"), image)
            image = image.convert("RGB" if channels == 3 else "L")
            if size is not None and image.size != size[::-1]:
                method = pillow.Image.Resampling.BILINEAR
                make = pillow.ImageOps.fit if fit == "crop" else pillow.Image.Image.resize
                image = make(image, size[::-1], method)
            pixels: np.ndarray = np.asarray(image).reshape(image.height, image.width, channels)
            return pixels
    except DataError:
        raise
    except Exception as error:  # a broken file can raise anything
        foreign = isinstance(error, pillow.UnidentifiedImageError)
        got = "no image" if foreign else f"a broken image ({str(error) or type(error).__name__})"
        raise DataError(f"{path}: got {got}; allowed: a whole PNG or JPEG") from error
