"""``fastconv predict``: what a trained network sees in images."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from fastconv._console import make_table, print_table
from fastconv.cli.choices import apply_computing_options, load_dataset
from fastconv.cli.evaluate import compute_logits
from fastconv.cli.trained import dataset_of, load_trained
from fastconv.data import Dataset
from fastconv.errors import ArgumentError, DataError


def run(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image."""
    apply_computing_options(options)
    model, about = load_trained(options)
    if options.images is not None:
        names, data, known = _from_file(options, about)
    else:
        names, data, known = _from_test_part(options, about)
    logits = compute_logits(model, data, options.batch_size, about).astype(np.float64)
    probability = np.exp(logits - logits.max(1, keepdims=True))
    probability /= probability.sum(1, keepdims=True)
    table = make_table("image", *(["shows"] if known else []), "prediction")
    for name, label, row in zip(names, data.labels, probability, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        guesses = ", ".join(f"{data.class_names[i]} {row[i]:.1%}" for i in best)
        table.add_row(name, *([data.class_names[label]] if known else []), guesses)
    print_table(table)
    return 0


def _from_test_part(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    data = load_dataset(options, dataset_of(options, about), "test")
    indices = options.index or range(min(10, len(data)))
    if max(indices) >= len(data):
        raise ArgumentError(f"--index: got {max(indices)}; allowed: 0 to {len(data) - 1}, the images of {data.name}")
    return [str(i) for i in indices], data.take(np.array(indices)), True


def _from_file(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    for name in ("index", "dataset", "data_dir", "limit"):
        if getattr(options, name) is not None:
            raise ArgumentError(f"--{name.replace('_', '-')}: got it beside --images; allowed: one source of images")
    path = options.images
    images = _read_images(path)
    if "class_names" not in about:
        raise ArgumentError(
            f"weights: got {options.weights}, which does not name its classes; allowed: what train wrote"
        )
    data = Dataset(
        str(path),
        images,
        np.zeros(len(images), np.int32),
        tuple(about["class_names"]),
        tuple(about["mean"]),
        tuple(about["std"]),
    )
    return [str(i) for i in range(len(images))], data, False


def _read_images(path: str) -> np.ndarray:
    """Return the images (N, 32, 32, 3) in a .npy file; it is never unpickled."""
    advice = "numpy.save writes one, of pixels that another library has read from an image file"
    try:
        with open(path, "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise DataError(f"--images: got {path}, which is no .npy file; allowed: a .npy file ({advice})")
            file.seek(0)
            images = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"--images: got {path} ({error.strerror}); allowed: a .npy file that can be read") from error
    except (ValueError, EOFError, MemoryError) as error:
        # NumPy's message would advise to unpickle.
        raise DataError(
            f"--images: got {path}, which is damaged or holds Python objects; allowed: a .npy file of uint8 ({advice})"
        ) from error
    if images.ndim == 3:
        images = images[None]
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        raise DataError(
            f"--images: got {path} with {images.dtype} {images.shape}; allowed: uint8 (N, 32, 32, 3) or (32, 32, 3)"
        )
    return images
