"""The sweeps of a lecture's notebooks, on Fashion-MNIST: rates, optimizers, activations and architectures.

    python -m benchmarks.sweeps --data-dir DIR
    python -m benchmarks.sweeps --data-dir DIR --seeds 0 --cells base "rate 50" --runs runs

The notebooks train Keras' MNIST net on MNIST with one seed; here each training is run with several, on the data set of
the same form, with as many images as ``--limit`` says. A training is what ``fastconv train`` with the arguments below
does, or ``fastconv resume``, as in trained.py, so it may be stopped at any time. What is done stands in
benchmarks/results/sweeps-fashion-mnist.json and is not done again; the numbers of the notebooks stand beside it.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import fastconv as fc
from benchmarks.said import said
from benchmarks.trained import RESULTS, Training, train_ours
from fastconv._files import write_atomically
from fastconv.training.environment import environment

RESULT = RESULTS / "sweeps-fashion-mnist.json"
EPOCHS, LIMIT, SEEDS = 12, 10_000, (0, 1, 2)
SOURCE = (
    "github.com/dennyglee/databricks at 125a901, notebooks/Users/denny.lee@databricks.com/DLFS: Keras MNIST CNN,"
    " Parts 1 to 3; MNIST, 60,000 images, 12 epochs, one seed"
)
_ADADELTA = "--optimizer Adadelta rho=0.95 eps=1e-7 --lr"
_NET = "--model mnist_cnn"
CELLS = {
    "base": f"{_NET} {_ADADELTA} 1",
    **{f"rate {rate}": f"{_NET} {_ADADELTA} {rate}" for rate in ("0.01", "0.1", "10", "50")},
    "SGD": f"{_NET} --optimizer SGD momentum=0 --lr 0.01",
    "Nesterov": f"{_NET} --optimizer SGD momentum=0.9 nesterov=true --lr 0.01",
    "RMSProp": f"{_NET} --optimizer RMSProp alpha=0.95 eps=1e-7 --lr 0.001",
    "Adam": f"{_NET} --optimizer Adam eps=1e-7 --lr 0.001",
    **{name: f"{_NET} activation={name} {_ADADELTA} 1" for name in ("Sigmoid", "Tanh")},
    "one norm": f"{_NET} normalised=1 {_ADADELTA} 1",
    "two norms": f"{_NET} normalised=2 {_ADADELTA} 1",
    "norm, 5x5": f"{_NET} normalised=1 kernel_size=5 {_ADADELTA} 1",
    "norm, 5x5, pool 4": f"{_NET} normalised=1 kernel_size=5 pool_size=4 {_ADADELTA} 1",
    "5x5, pool 4": f"{_NET} kernel_size=5 pool_size=4 {_ADADELTA} 1",
}
"""By name, what is trained: arguments of ``fastconv train``."""


@dataclass(frozen=True)
class Point:
    """A place of a sweep.

    Attributes
    ----------
    label, cell : str
        What it is called, and what of CELLS is trained.
    accuracy, loss : mapping of int to float
        What the notebook printed for the test images of MNIST, by the number of epochs.
    """

    label: str
    cell: str
    accuracy: Mapping[int, float] = field(default_factory=dict)
    loss: Mapping[int, float] = field(default_factory=dict)


PUBLISHED_EPOCHS = (1, 2, 3, 4, 6, 7, 8, 10, 12)
"""After how many the notebook's second part printed what its optimizers reached, each by a training of its own."""
_OPTIMIZERS = {
    "SGD": (
        (0.9094, 0.9281, 0.9413, 0.9489, 0.9590, 0.9587, 0.9623, 0.9646, 0.9686),
        (0.3166, 0.2361, 0.1996, 0.1784, 0.1406, 0.1335, 0.1293, 0.1202, 0.1021),
    ),
    "Nesterov, momentum 0": (
        (0.9079, 0.9310, 0.9415, 0.9466, 0.9546, 0.9588, 0.9606, 0.9655, 0.9699),
        (0.3150, 0.2384, 0.2022, 0.1755, 0.1472, 0.1342, 0.1329, 0.1172, 0.1023),
    ),
    "RMSProp": (
        (0.9853, 0.9871, 0.9882, 0.9882, 0.9914, 0.9912, 0.9902, 0.9912, 0.9893),
        (0.0461, 0.0412, 0.0354, 0.0318, 0.0299, 0.0307, 0.0316, 0.0354, 0.0444),
    ),
    "Adam": (
        (0.9823, 0.9871, 0.9897, 0.9896, 0.9907, 0.9915, 0.9932, 0.9918, 0.9915),
        (0.0514, 0.0404, 0.0315, 0.0311, 0.0314, 0.0274, 0.0263, 0.0278, 0.0321),
    ),
    "Adadelta": (
        (0.9827, 0.9861, 0.9890, 0.9892, 0.9912, 0.9905, 0.9910, 0.9914, 0.9923),
        (0.0539, 0.0416, 0.0343, 0.0309, 0.0275, 0.0289, 0.0303, 0.0278, 0.0273),
    ),
}
"""By label, accuracy and loss on the test images of MNIST after those epochs."""


def _optimizer(label: str, cell: str) -> Point:
    """Return a place with what the notebook printed of an optimizer."""
    return Point(label, cell, *(dict(zip(PUBLISHED_EPOCHS, each, strict=True)) for each in _OPTIMIZERS[label]))


SWEEPS = {
    "learning rate": (
        Point("0.01", "rate 0.01", {12: 0.948}, {12: 0.1795}),
        Point("0.1", "rate 0.1", {12: 0.9861}, {12: 0.0411}),
        Point("1", "base", {12: 0.9904}, {12: 0.0304}),
        Point("10", "rate 10", {12: 0.9892}, {12: 0.0368}),
        Point("50", "rate 50", {12: 0.1028}, {12: 2.3023}),
    ),
    "optimizer": (
        _optimizer("SGD", "SGD"),
        _optimizer("Nesterov, momentum 0", "SGD"),  # as the notebook has it, which is SGD
        Point("Nesterov, momentum 0.9", "Nesterov"),
        _optimizer("RMSProp", "RMSProp"),
        _optimizer("Adam", "Adam"),
        _optimizer("Adadelta", "base"),
    ),
    "activation": (
        Point("sigmoid", "Sigmoid", {12: 0.9711}, {12: 0.0921}),
        Point("tanh", "Tanh", {12: 0.9884}, {12: 0.0392}),
        Point("ReLU", "base", {12: 0.9920}, {12: 0.0281}),
    ),
    "architecture": (
        Point("base", "base", {12: 0.9922}, {12: 0.0249}),
        Point("norm for the first dropout", "one norm", {12: 0.9926}),
        Point("norms for both dropouts", "two norms", {12: 0.9912}),
        Point("one norm, 5x5 kernels", "norm, 5x5", {12: 0.9930}),
        Point("one norm, 5x5, pooling 4x4", "norm, 5x5, pool 4", {12: 0.9936}),
        Point("dropouts, 5x5, pooling 4x4", "5x5, pool 4", {12: 0.9934}),
    ),
}


def read(path: Path, limit: int, epochs: int) -> dict[str, Any]:
    """Return what has been computed, or the beginning of it; SystemExit if it is of another length."""
    started = {"limit": limit, "epochs": epochs, "cells": {}}
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else started
    if (found["limit"], found["epochs"]) != (limit, epochs):
        sys.exit(
            f"{path}: got cells of {found['limit']} images and {found['epochs']} epochs; allowed: {limit} and {epochs},"
            " or another file (--result)"
        )
    return found


def published() -> dict[str, Any]:
    """Return the numbers of the notebooks, as they stand in a file of results."""
    places = {
        sweep: [{"label": p.label, "cell": p.cell, "accuracy": p.accuracy, "loss": p.loss} for p in points]
        for sweep, points in SWEEPS.items()
    }
    return {"source": SOURCE, **_short(places)}


def write(path: Path, found: dict[str, Any], command: str) -> None:
    """Write what has been computed, all or nothing."""
    report = {
        **{"date": date.today().isoformat(), "environment": environment(), "command": command},
        **{"limit": found["limit"], "epochs": found["epochs"]},
        "published": published(),
        "cells": {name: found["cells"][name] for name in CELLS if name in found["cells"]},
    }
    text = json.dumps(_short(report), indent=1)
    text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # numbers on one line
    write_atomically(path, f"{text}\n".encode())


def _short(value: Any) -> Any:
    """Return numbers with few digits, and those that are not finite as None."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list | tuple) else value


def training_of(cell: str, limit: int, epochs: int) -> Training:
    """Return how a cell is trained."""
    run = f"--dataset fashion-mnist --limit {limit} --epochs {epochs} --schedule Constant --no-augment"
    return Training(f"{CELLS[cell]} {run}")


def main() -> None:
    """Train what is not there yet, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--limit", type=int, default=LIMIT, help="images to train on, and at most to test on")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the folders of the runs are")
    parser.add_argument("--result", type=Path, default=RESULT)
    args = parser.parse_args()
    found = read(args.result, args.limit, args.epochs)
    command = said("sweeps", sys.argv[1:], {args.data_dir: "DIR", args.runs: "RUNS", args.result: "RESULT"})
    fc.set_backend("numba")
    for seed in args.seeds:
        for name in args.cells:
            cell = found["cells"].setdefault(name, {})
            if str(seed) in cell:
                continue
            folder = args.runs / f"sweep-{name.replace(' ', '-').replace(',', '')}-{seed}"
            history = train_ours(training_of(name, args.limit, args.epochs), args.data_dir, folder, seed, "default")
            kept = {key: history[key] for key in ("loss", "val_loss", "val_accuracy")}
            cell[str(seed)] = {**kept, "seconds": sum(history["seconds"])}
            write(args.result, found, command)
            print(
                f"{name}, seed {seed}: {kept['val_accuracy'][-1]:.4f}, {cell[str(seed)]['seconds']:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
