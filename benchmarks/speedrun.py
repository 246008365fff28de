"""94 % on CIFAR-10 from nothing, and how long that takes: the recipe of airbench94_muon on this machine.

    python -m benchmarks.speedrun --data-dir DIR                            # three seeds, in float32
    python -m benchmarks.speedrun --data-dir DIR --precision fast --seeds 0
    python -m benchmarks.speedrun --data-dir DIR --steps 5                  # a step beside PyTorch's, no training

The clock is that of DAWNBench: it runs from the bytes in memory, whitening included, to the last evaluation, and
stands still while an epoch before is evaluated. Kernels are compiled before, by two steps of another model; that time
is stated apart. The last evaluation is done twice, of the images as they are and of six views of each (test-time
augmentation).

The recipe is that of Jordan (https://github.com/KellerJordan/cifar10-airbench, airbench94_muon.py, with its report
https://arxiv.org/abs/2404.00498); what differs stands at EPOCHS. Results go to a file of benchmarks/results/, where
seeds that were run before with the same recipe stay: a run that was cut off goes on with the seeds that are left.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np

import fastconv as fc
from benchmarks.said import said
from benchmarks.torch_airbench import beside_torch
from benchmarks.trained import RESULTS
from fastconv.backends.contract.types import PrecisionChoice
from fastconv.data import Crop, DataLoader, Dataset, Flip, cifar10, whitening
from fastconv.optim import SGD, Combined, Muon
from fastconv.optim.schedules import Polynomial
from fastconv.training.environment import environment

EPOCHS = 9  # one more than the original has: its mean of many seeds is 94.01 %, and three are to reach 94
BATCH, EVALUATED = 2000, 1000
WHITENED_BY, BIAS_EPOCHS = 5000, 3  # images for the first layer's filters; epochs in which its bias is trained
FILTERS_LR, BIAS_LR, HEAD_LR, DECAY = 0.24, 0.053, 0.67, 2e-6 * BATCH


def make_optimizer(model: fc.nn.Sequential, steps: int, bias_steps: int) -> Combined:
    """Muon for the filters and SGD for the others, each with a rate that falls to zero along a line."""
    first, head = model.layers[0], model.layers[-2]
    filters = [p for p in model.parameters() if len(p.shape) == 4 and p is not first.weight]
    biases = [p for p in model.parameters() if len(p.shape) == 1 and p is not first.bias]

    def group(parameters: list[fc.nn.Parameter], lr: float, total: int) -> dict[str, Any]:
        return {"params": parameters, "lr": Polynomial(lr, total), "weight_decay": DECAY / lr}

    filters_group = {"params": filters, "lr": Polynomial(FILTERS_LR, steps)}
    return Combined(
        Muon([filters_group], momentum=0.6, weight_decay=0.0, ns_steps=3, adjust_lr_fn="none", normalize=True),
        SGD(
            [
                group([first.bias], BIAS_LR, bias_steps),
                group(biases, BIAS_LR, steps),
                group([head.weight], HEAD_LR, steps),
            ],
            momentum=0.85,
            nesterov=True,
        ),
    )


def make_trainer(train: Dataset, batches: int, epochs: int, seed: int) -> fc.Trainer:
    """Return a trainer for so many batches an epoch, its model's first layer whitening what comes in."""
    model = fc.models.airbench(len(train.class_names), input_shape=train.images.shape[1:], seed=seed)
    images, _ = next(iter(DataLoader(train, min(WHITENED_BY, len(train)), shuffle=False)))
    model.layers[0].weight.data = whitening(fc.to_numpy(images)).weight
    model.freeze("0.weight")
    loss = fc.losses.SoftmaxCrossEntropy(0.2, reduction="sum")
    optimizer = make_optimizer(model, epochs * batches, min(BIAS_EPOCHS, epochs) * batches)
    return fc.Trainer(model, loss, optimizer, seed=seed)


def views(images: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Yield images as they are and shifted by a pixel along both diagonals, mirrored or not, and what each counts."""
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    for begin, share in ((1, 0.25), (0, 0.125), (2, 0.125)):
        view = padded[:, begin : begin + size, begin : begin + size]
        yield view, share
        yield view[:, :, ::-1], share


def accuracy(model: fc.nn.Sequential, test: Dataset, *, augmented: bool) -> float:
    """Return the share that is right, by the mean of the logits of all views if `augmented`."""
    total = np.zeros((len(test), len(test.class_names)))
    for images, share in views(test.images) if augmented else [(test.images, 1.0)]:
        shown = replace(test, images=np.ascontiguousarray(images))
        batches = DataLoader(shown, EVALUATED, shuffle=False)
        total += share * np.concatenate([fc.to_numpy(model(x)) for x, _ in batches])
    return float((total.argmax(1) == test.labels).mean())


def speedrun(train: Dataset, test: Dataset, epochs: int, seed: int, batch: int = BATCH) -> dict[str, Any]:
    """Train a model and return what came of it: accuracies, seconds, and a row for each epoch."""
    begin = time.perf_counter()
    augmentation = [Flip("alternating"), Crop(2, "reflect")]
    loader = DataLoader(train, batch, augmentation=augmentation, drop_last=True, seed=seed)
    trainer = make_trainer(train, len(loader), epochs, seed)
    trained, rows = time.perf_counter() - begin, ["epoch\thours\ttop1Accuracy"]
    for epoch in range(1, epochs + 1):
        begin = time.perf_counter()
        if epoch == BIAS_EPOCHS + 1:
            trainer.model.freeze("0.bias")
        history = trainer.fit(loader, 1).history
        trained += time.perf_counter() - begin
        begin = time.perf_counter()
        reached = accuracy(trainer.model, test, augmented=False)
        seconds = trained + (time.perf_counter() - begin if epoch == epochs else 0.0)
        rows.append(f"{epoch}\t{seconds / 3600:.6f}\t{100 * reached:.2f}")
        print(f"{rows[-1]}\tloss {history['loss'][-1]:.4f}\t{seconds:.1f} s", flush=True)
    begin = time.perf_counter()
    augmented = accuracy(trainer.model, test, augmented=True)
    times = {"seconds": seconds, "secondsTTA": trained + time.perf_counter() - begin}
    return {"top1Accuracy": 100 * reached, "top1AccuracyTTA": 100 * augmented, **times, "tsv": rows}


def warm_up(train: Dataset, test: Dataset, batch: int = BATCH) -> float:
    """Compile all kernels by a batch with the first layer's bias trained and one without; return how long it took."""
    begin = time.perf_counter()
    few = train.take(slice(0, batch))
    loader = DataLoader(few, batch, augmentation=[Flip("alternating"), Crop(2, "reflect")])
    trainer = make_trainer(few, 2, 1, 0)
    trainer.fit(loader, 1)
    trainer.model.freeze("0.bias")
    trainer.fit(loader, 1)
    accuracy(trainer.model, test.take(slice(0, EVALUATED)), augmented=False)
    return time.perf_counter() - begin


def report_to(path: Path, recipe: dict[str, Any], run: dict[str, Any]) -> None:
    """Write a run beside those of other seeds of the same recipe, and the means over all of them."""
    before = json.loads(path.read_text()) if path.exists() else {}
    runs = before.get("runs", []) if before.get("recipe") == recipe else []
    runs = sorted([other for other in runs if other["seed"] != run["seed"]] + [run], key=lambda one: one["seed"])
    names = ("top1Accuracy", "top1AccuracyTTA", "seconds", "secondsTTA")
    means = {name: statistics.fmean(one[name] for one in runs) for name in names}
    path.write_text(json.dumps({"recipe": recipe, "mean": means, "runs": runs}, indent=1) + "\n")


def main() -> None:
    """Run the recipe for every seed, or time its steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--precision", default="default", choices=get_args(PrecisionChoice))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, help="time so many steps beside PyTorch's, in place of training")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.epochs < 1 or (args.steps is not None and args.steps < 1):
        parser.error("--epochs and --steps are at least 1")
    if args.threads is not None:
        fc.set_num_threads(args.threads)
    train, test = cifar10(args.data_dir, "train"), cifar10(args.data_dir, "test")
    with fc.precision(args.precision):
        path = args.out or RESULTS / f"speedrun-{args.precision}{'-steps' * bool(args.steps)}.json"
        command = said("speedrun", sys.argv[1:], {args.data_dir: "DIR", path: "RESULT"})
        about = {"command": command, "date": date.today().isoformat(), "environment": environment()}
        recipe = {"model": "airbench", "epochs": args.epochs, "batch": BATCH, "precision": args.precision}
        if args.steps:
            timed = beside_torch(make_trainer(train, len(train) // BATCH, args.epochs, 0), train, BATCH, args.steps)
            path.write_text(json.dumps({**about, **recipe, **timed}, indent=1) + "\n")
            return
        compiling = warm_up(train, test)
        for seed in args.seeds:
            begun = datetime.now().isoformat("T", "seconds")
            result = speedrun(train, test, args.epochs, seed)
            about |= {"begun": begun, "load": os.getloadavg()[2], "secondsCompiling": compiling}
            report_to(path, recipe, {"seed": seed, **result, **about})
            plain, augmented = result["top1Accuracy"], result["top1AccuracyTTA"]
            print(f"seed {seed}: {plain:.2f} %, with test-time augmentation {augmented:.2f} %", flush=True)


if __name__ == "__main__":
    main()
