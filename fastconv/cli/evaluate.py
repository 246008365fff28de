"""``fastconv evaluate``: loss and accuracy of a trained network on the test images."""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastconv as fc
from fastconv._console import make_table, print_table
from fastconv.cli.choices import apply_computing_options, load_dataset
from fastconv.cli.own_images import check_alone, load_parts
from fastconv.cli.trained import dataset_of, load_trained
from fastconv.data import DataLoader, Dataset
from fastconv.errors import CheckpointError, DataError
from fastconv.nn import Layer


def run(options: argparse.Namespace) -> int:
    """Print loss, accuracy and the accuracy of each class."""
    apply_computing_options(options)
    model, about = load_trained(options)
    if options.images is None:
        data = load_dataset(options, dataset_of(options, about), "test")
    else:
        check_alone(options, "dataset", "data_dir")
        data = load_parts(options, about)["test"]
    began = time.perf_counter()
    logits = compute_logits(model, data, options.batch_size, about)
    elapsed = time.perf_counter() - began
    loss, _ = fc.functional.softmax_cross_entropy(fc.asarray(logits), fc.asarray(data.labels))
    right = logits.argmax(1) == data.labels
    table = make_table("class", "accuracy", "images", right=("accuracy", "images"))
    for label, name in enumerate(data.class_names):
        own = right[data.labels == label]
        table.add_row(name, f"{own.mean():.1%}" if own.size else "", str(own.size))
    print_table(table)
    print(f"{data.name}: loss {float(fc.to_numpy(loss)):.4f}, accuracy {right.mean():.2%}")
    print(f"{len(data):,} images in {elapsed:.1f} s, {len(data) / elapsed:,.0f} images/s")
    return 0


def compute_logits(model: Layer, data: Dataset, batch_size: int, about: dict[str, list[float]]) -> np.ndarray:
    """Return the output of `model` for all images, (M, classes), normalised as in training."""
    if not len(data):
        raise DataError(f"data: got no images in {data.name}; allowed: one or more")
    loader = DataLoader(
        data, batch_size, shuffle=False, mean=about.get("mean"), std=about.get("std"), dtype=model.dtype
    )
    logits = np.concatenate([fc.to_numpy(model(x)).copy() for x, _ in loader])
    broken = int(np.count_nonzero(~np.isfinite(logits).all(1)))
    if broken:  # it would name the first class for everything
        raise CheckpointError(
            f"weights: got an output that is not finite for {broken} of {len(logits)} images; allowed: weights of a"
            " training that went well"
        )
    return logits
