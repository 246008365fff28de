"""``fastconv predict``: what a trained network sees in images."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from fastconv._console import make_table, print_table
from fastconv.cli.choices import apply_computing_options
from fastconv.cli.evaluate import test_part
from fastconv.cli.own_images import check_alone, check_skip_broken, read_files
from fastconv.cli.trained import load_trained
from fastconv.data import Dataset
from fastconv.errors import ArgumentError
from fastconv.training.logits import compute_logits, probabilities


def run(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image."""
    apply_computing_options(options)
    if options.files:
        check_alone(options, "files", "index", "dataset", "data_dir", "images", "limit")
        check_skip_broken(options)
    elif options.images is not None:
        check_alone(options, "--images", "dataset", "data_dir")
        _check_folder(options.images)
    model, about = load_trained(options)
    names, data, known = _from_files(options, about) if options.files else _from_test_part(options, about)
    probability = probabilities(compute_logits(model, data, options.batch_size, about))
    table = make_table("image", *(["shows"] if known else []), "prediction")
    for name, label, row in zip(names, data.labels, probability, strict=True):
        best = np.argsort(-row, kind="stable")[: options.top]
        guesses = ", ".join(f"{data.class_names[i]} {row[i]:.1%}" for i in best)
        table.add_row(name, *([data.class_names[label]] if known else []), guesses)
    print_table(table)
    return 0


def _check_folder(images: str) -> None:
    if os.path.isfile(images):
        raise ArgumentError(
            f"--images: got {images}, a file; allowed: a folder with a folder for each class (files come after the"
            " run, as in 'fastconv predict RUN FILE')"
        )


def _from_test_part(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    data = test_part(options, about)
    indices = options.index or range(min(10, len(data)))
    if max(indices) >= len(data):
        raise ArgumentError(f"--index: got {max(indices)}; allowed: 0 to {len(data) - 1}, the images of {data.name}")
    return [str(i) for i in indices], data.take(np.array(indices)), True


def _from_files(options: argparse.Namespace, about: dict[str, Any]) -> tuple[list[str], Dataset, bool]:
    names, images = read_files(options.files, about)
    if "class_names" not in about:
        raise ArgumentError(
            f"weights: got {options.weights}, which does not name its classes; allowed: what train wrote"
        )
    data = Dataset(
        options.files[0],
        images,
        np.zeros(len(images), np.int32),
        tuple(about["class_names"]),
        tuple(about["mean"]),
        tuple(about["std"]),
    )
    return names, data, False
