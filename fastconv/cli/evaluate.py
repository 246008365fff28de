"""``fastconv evaluate``: loss and accuracy of a trained network on the test images."""

from __future__ import annotations

import argparse
import time

import numpy as np
from rich.table import Table

import fastconv as fc
from fastconv.cli.choices import apply_computing_options, console, load_dataset
from fastconv.cli.trained import load_trained
from fastconv.data import DataLoader, Dataset
from fastconv.errors import DataError
from fastconv.nn import Layer


def run(options: argparse.Namespace) -> int:
    """Print loss, accuracy and the accuracy of each class."""
    apply_computing_options(options)
    model, about = load_trained(options)
    data = load_dataset(options, options.dataset or about.get("dataset", "shapes10"), "test")
    began = time.perf_counter()
    logits = compute_logits(model, data, options.batch_size, about)
    elapsed = time.perf_counter() - began
    loss, _ = fc.functional.softmax_cross_entropy(fc.asarray(logits), fc.asarray(data.labels))
    right = logits.argmax(1) == data.labels
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("accuracy", justify="right")
    table.add_column("images", justify="right")
    for label, name in enumerate(data.class_names):
        own = right[data.labels == label]
        table.add_row(name, f"{own.mean():.1%}" if own.size else "", str(own.size))
    console.print(table)
    console.print(f"{data.name}: loss {float(fc.to_numpy(loss)):.4f}, accuracy {right.mean():.2%}")
    console.print(f"{len(data):,} images in {elapsed:.1f} s, {len(data) / elapsed:,.0f} images/s")
    return 0


def compute_logits(model: Layer, data: Dataset, batch_size: int, about: dict[str, list[float]]) -> np.ndarray:
    """Return the output of `model` for all images, (M, classes), normalised as in training."""
    if not len(data):
        raise DataError(f"data: got no images in {data.name}; allowed: one or more")
    loader = DataLoader(
        data, batch_size, shuffle=False, mean=about.get("mean"), std=about.get("std"), dtype=model.dtype
    )
    return np.concatenate([fc.to_numpy(model(x)).copy() for x, _ in loader])
