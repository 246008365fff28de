"""``fastconv predict``: what a trained network sees in images."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.table import Table

from fastconv.cli.choices import apply_computing_options, console, load_dataset
from fastconv.cli.evaluate import compute_logits
from fastconv.cli.trained import load_trained
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
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    if known:
        table.add_column("shows")
    table.add_column("prediction")
    for name, label, row in zip(names, data.labels, probability, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        guesses = ", ".join(f"{data.class_names[i]} {row[i]:.1%}" for i in best)
        table.add_row(name, *([data.class_names[label]] if known else []), guesses)
    console.print(table)
    return 0


def _from_test_part(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    data = load_dataset(options, options.dataset or about.get("dataset", "shapes10"), "test")
    indices = options.index or range(min(10, len(data)))
    if max(indices) >= len(data):
        raise ArgumentError(f"--index: got {max(indices)}; allowed: 0 to {len(data) - 1}, the images of {data.name}")
    return [str(i) for i in indices], data.take(np.array(indices)), True


def _from_file(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    if options.index is not None or options.dataset is not None:
        raise ArgumentError("--images: got a file beside --index or --dataset; allowed: one source of images")
    path = options.images
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"--images: got {path}, which cannot be read ({error}); allowed: a .npy file") from error
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = images[None]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        got = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else "an archive"
        raise DataError(f"--images: got {path} with {got}; allowed: uint8 (N, 32, 32, 3) or (32, 32, 3)")
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
