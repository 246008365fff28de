"""Images of the user's own: which options go with them, and single files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data import read_image
from fastconv.data._npy import HEADERS, reading_header
from fastconv.data.images import SUFFIXES
from fastconv.errors import ArgumentError, DataError

NAME = "images"  # of the data set, in recipes and weights files
EPOCHS = 10


def check_alone(options: argparse.Namespace, source: str, *names: str) -> None:
    """Refuse the options that choose images elsewhere, beside `source`."""
    for name in names:
        if getattr(options, name) is not None:
            raise ArgumentError(f"--{name.replace('_', '-')}: got it beside {source}; allowed: one source of images")


def check_skip_broken(options: argparse.Namespace) -> None:
    """Refuse to pass over broken images where none are read from an own folder."""
    if options.skip_broken and options.images is None:
        raise ArgumentError("--skip-broken: got it without --images; allowed: beside --images")


def read_files(paths: Sequence[str], about: Mapping[str, Any]) -> tuple[list[str], np.ndarray]:
    """Return names and pixels (N, H, W, C), as the weights want them, of a .npy file or of PNG and JPEG files."""
    shape = tuple(about.get("input_shape", (32, 32, 3)))
    if len(paths) == 1 and Path(paths[0]).suffix.lower() not in SUFFIXES:
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
        with HEADERS, reading_header(), open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise DataError(
                    f"image: got {path}, which is no .npy file; allowed: PNG and JPEG files, or a .npy file ({advice})"
                )
            file.seek(0)
            images = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"image: got {path} ({error.strerror}); allowed: a PNG, JPEG or .npy file that can be read"
        ) from error
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
