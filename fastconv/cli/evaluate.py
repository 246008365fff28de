"""``fastconv evaluate``: loss, accuracy and what is taken for what, of a trained network on the test images."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import fastconv as fc
from fastconv._console import make_table, one_line, print_table, short_number
from fastconv.cli.choices import apply_computing_options
from fastconv.cli.own_images import check_alone, check_skip_broken
from fastconv.cli.trained import dataset_of, load_trained
from fastconv.data import Dataset
from fastconv.metrics import F1, ConfusionMatrix, Precision, Recall
from fastconv.training import named
from fastconv.training.logits import compute_logits, most_confused
from fastconv.training.run_data import load_dataset, load_parts

_MATRIX = 12  # classes whose counts stand beside each other in 80 columns


def run(options: argparse.Namespace) -> int:
    """Print precision, recall and F1 of each class, the confusion matrix, loss and accuracy."""
    apply_computing_options(options)
    if options.images is not None:
        check_alone(options, "--images", "dataset", "data_dir")
    model, about = load_trained(options)
    data = test_part(options, about)
    began = time.perf_counter()
    logits = compute_logits(model, data, options.batch_size, about)
    elapsed = time.perf_counter() - began
    loss = named.build("loss", about.get("recipe", {}).get("loss", {named.NAME: "SoftmaxCrossEntropy"}), {})
    scores, labels = fc.asarray(logits), fc.asarray(data.labels)
    value = float(fc.to_numpy(loss(scores, labels)[0]))
    _print_classes(data, scores, labels)
    counts = np.asarray(ConfusionMatrix()(scores, labels))
    if len(data.class_names) <= _MATRIX:
        _print_matrix(data, counts)
    else:
        _print_most(data, counts)
    print(one_line(f"{data.name}: loss {short_number(value)}, accuracy {np.trace(counts) / len(data):.2%}"))
    print(f"{len(data):,} images in {elapsed:.1f} s, {len(data) / elapsed:,.0f} images/s")
    return 0


def test_part(options: argparse.Namespace, about: dict[str, Any]) -> Dataset:
    """Return the images to test on: those of an own folder, or of the data set that the weights are of."""
    check_skip_broken(options)  # here, as the folder of a run may have said where its images are
    if options.images is not None:
        return load_parts(options.images, about, limit=options.limit, skip_broken=options.skip_broken)["test"]
    return load_dataset(dataset_of(options, about), "test", options.data_dir, options.limit)


def _print_classes(data: Dataset, scores: Any, labels: Any) -> None:
    """Print ratios of each class; one that does not occur, or is never predicted, has those that there are."""
    metrics = {"precision": Precision(None), "recall": Recall(None), "F1": F1(None)}
    ratios = {name: np.asarray(metric(scores, labels)) for name, metric in metrics.items()}
    table = make_table("class", *ratios, "images", right=(*ratios, "images"))
    images = np.bincount(data.labels, minlength=len(data.class_names))
    for label, name in enumerate(data.class_names):
        shown = [f"{values[label]:.1%}" if images[label] else "" for values in ratios.values()]
        table.add_row(name, *shown, str(images[label]))
    print_table(table)


def _print_matrix(data: Dataset, counts: np.ndarray) -> None:
    numbers = [str(k) for k in range(len(counts))]
    print("\nrow: what it is, column: what it is taken for")
    table = make_table("", *numbers, right=tuple(numbers))
    for number, name in enumerate(data.class_names):
        table.add_row(f"{number} {name[:20]}", *map(str, counts[number]))
    print_table(table)
    print()


def _print_most(data: Dataset, counts: np.ndarray) -> None:
    table = make_table("is", "is taken for", "images", right=("images",))
    for label, guess in most_confused(counts):
        table.add_row(data.class_names[label], data.class_names[guess], str(counts[label, guess]))
    print()
    print_table(table)
    print()
