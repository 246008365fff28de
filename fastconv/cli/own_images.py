"""Images of the user's own: a folder with a folder for each class, or single files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data import Dataset, image_folder, read_image
from fastconv.data.statistics import channel_statistics
from fastconv.errors import ArgumentError, DataError

NAME = "images"  # of the data set, in recipes and weights files
EPOCHS = 10
_TESTS = ("test", "val", "valid", "validation")
_HELD_OUT = 0.2


def check_alone(options: argparse.Namespace, source: str, *names: str) -> None:
    """Refuse the options that choose images elsewhere, beside `source`."""
    for name in names:
        if getattr(options, name) is not None:
            raise ArgumentError(f"--{name.replace('_', '-')}: got it beside {source}; allowed: one source of images")


def load_parts(
    directory: str, about: Mapping[str, Any], *, limit: int | None = None, skip_broken: bool = False
) -> dict[str, Dataset]:
    """Return the parts "train" and "test" of a folder, at most `limit` images of each.

    They are folders in it (the second is called test, val, valid or validation); else a fifth of the images of each
    class, always the same ones, is held out.

    Parameters
    ----------
    about : mapping
        ``image_size`` and ``image_fit``, with ``class_names`` and ``input_shape`` where they are settled.
    """
    root = Path(directory).expanduser()
    shape = about.get("input_shape", (32, 32, 3))
    settings: dict[str, Any] = {
        "size": tuple(about.get("image_size") or shape[:2]),
        "fit": about.get("image_fit") or "crop",
        "channels": shape[2],
        "broken": "skip" if skip_broken else "raise",
    }
    names = about.get("class_names")
    split = (root / "train").is_dir()
    train = image_folder(root, "train" if split else None, class_names=names, **settings)
    held = next((name for name in _TESTS if (root / name).is_dir()), None) if split else None
    if held is None:
        train, test = train.split(round(len(train) * _HELD_OUT), stratified=True)
    else:
        test = image_folder(root, held, class_names=train.class_names, **settings)
    mean, std = channel_statistics(train.images)
    parts = {"train": train, "test": test}
    return {
        part: replace(data.take(slice(limit)), name=f"{root.resolve().name}/{part}", mean=mean, std=std)
        for part, data in parts.items()
    }


def read_files(paths: Sequence[str], about: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    """Return names and pixels (N, H, W, C), as the weights want them, of a .npy file or of PNG and JPEG files."""
    shape = tuple(about.get("input_shape", (32, 32, 3)))
    if len(paths) == 1 and Path(paths[0]).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        images = _read_npy(paths[0], shape)
        return [str(i) for i in range(len(images))], images
    try:
        fit: Any = about.get("image_fit") or "crop"
        return list(paths), np.stack([read_image(path, shape[:2], fit=fit, channels=shape[2]) for path in paths])
    except DataError as error:
        raise DataError(f"image: got {str(error).replace(': got ', ', ', 1)}") from error


def _read_npy(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the images in a .npy file; it is never unpickled."""
    advice = "numpy.save writes one, of pixels that another library has read from an image file"
    try:
        with open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise DataError(
                    f"image: got {path}, which is no .npy file; allowed: PNG and JPEG files, or a .npy file ({advice})"
                )
            file.seek(0)
            images = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"image: got {path} ({error.strerror}); allowed: a .npy file that can be read") from error
    except (ValueError, EOFError, MemoryError) as error:
        # NumPy's message would advise to unpickle.
        raise DataError(
            f"image: got {path}, which is damaged or holds Python objects; allowed: a .npy file of uint8 ({advice})"
        ) from error
    if images.ndim == 3:
        images = images[None]
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise DataError(
            f"image: got {path} with {images.dtype} {images.shape}; allowed: uint8 (N, {str(shape)[1:]} or {shape}"
        )
    return images
