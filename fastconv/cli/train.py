"""``fastconv train``: train a network, show how it goes, and write what came out."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastconv as fc
from fastconv.cli.choices import EPOCHS, RECIPES, apply_computing_options, console, load_dataset, make_model
from fastconv.cli.trained import save_trained
from fastconv.data import DataLoader, Dataset, FlipCrop
from fastconv.errors import ArgumentError, DataError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, Optimizer, schedules
from fastconv.optim.schedules import Schedule
from fastconv.training import Callback, ProgressDisplay, Trainer


@dataclass(frozen=True)
class _Files:
    """What a run writes, anew after each epoch and all or nothing: an interrupted run loses one epoch at most."""

    directory: Path

    @property
    def weights(self) -> Path:
        return self.directory / "weights.safetensors"

    @property
    def history(self) -> Path:
        return self.directory / "history.json"

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint.safetensors"


class _Save(Callback):
    """Writes the files of the run."""

    def __init__(self, files: _Files, about: Mapping[str, Any]) -> None:
        self._files, self._about = files, about

    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        """Write weights, history and checkpoint."""
        save_trained(self._files.weights, trainer.model, self._about)
        trainer.history.save(self._files.history)
        trainer.save(self._files.checkpoint)


def run(options: argparse.Namespace) -> int:
    """Train, and print where the results are."""
    began = time.perf_counter()
    _fill_in_recipe(options)
    apply_computing_options(options)
    fc.seed(options.seed)
    train, test = load_dataset(options, options.dataset, "train"), load_dataset(options, options.dataset, "test")
    if not len(train):
        raise DataError(f"data: got no images in {train.name}; allowed: one or more")
    files = _Files(Path(options.output or Path("runs") / f"{options.dataset}-{options.model}"))
    _make_directory(files.directory)
    trainer, train_loader, test_loader = _prepare(options, train, test, files)
    if options.resume:
        trainer.restore(files.checkpoint)
    _announce(options, trainer, train, test)
    if trainer.epoch < options.epochs:
        trainer.fit(train_loader, options.epochs - trainer.epoch, validation_data=test_loader)
    _report(options, trainer, files, time.perf_counter() - began)
    return 0


def _fill_in_recipe(options: argparse.Namespace) -> None:
    recipe = RECIPES[options.model]
    own_optimizer = options.optimizer in (None, recipe.optimizer)
    if not own_optimizer and options.lr is None:
        raise ArgumentError(
            f"--lr: got none for {options.optimizer} on {options.model}; allowed: a learning rate to go with it"
        )
    options.optimizer = options.optimizer or recipe.optimizer
    options.lr = options.lr or recipe.lr
    options.schedule = options.schedule or recipe.schedule
    if options.weight_decay is None:
        options.weight_decay = recipe.weight_decay if own_optimizer else 0.0
    options.epochs = options.epochs or EPOCHS[options.dataset]
    if options.augment is None:
        options.augment = options.dataset == "cifar10"


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"--output: got {directory} ({error}); allowed: a folder that can be written") from error


def _prepare(
    options: argparse.Namespace, train: Dataset, test: Dataset, files: _Files
) -> tuple[Trainer, DataLoader, DataLoader]:
    model = make_model(options.model, dtype=options.dtype, seed=options.seed)
    train_loader = DataLoader(
        train,
        options.batch_size,
        augmentation=FlipCrop() if options.augment else None,
        seed=options.seed,
        dtype=options.dtype,
    )
    test_loader = DataLoader(test, 256, shuffle=False, dtype=options.dtype)
    recipe = (
        "model",
        "dataset",
        "epochs",
        "batch_size",
        "optimizer",
        "lr",
        "schedule",
        "weight_decay",
        "augment",
        "seed",
    )
    about = {name: getattr(options, name) for name in recipe}
    about |= {"class_names": train.class_names, "mean": train_loader.mean, "std": train_loader.std}
    optimizer: Optimizer
    if options.optimizer == "adam":
        optimizer = Adam(model.parameters(), options.lr, weight_decay=options.weight_decay)
    else:
        optimizer = SGD(model.parameters(), options.lr, momentum=0.9, nesterov=True, weight_decay=options.weight_decay)
    schedule = _schedule(options.schedule, options.lr, len(train_loader) * options.epochs)
    loss = SoftmaxCrossEntropy(options.label_smoothing)
    callbacks = (ProgressDisplay(), _Save(files, about))
    return Trainer(model, loss, optimizer, schedule, callbacks, seed=options.seed), train_loader, test_loader


def _schedule(name: str, lr: float, steps: int) -> Schedule:
    if name == "constant":
        return schedules.Constant(lr)
    if name == "step":
        return schedules.Step(lr, (steps // 2, steps * 3 // 4))
    if name == "cosine":
        return schedules.Cosine(lr, steps)
    return schedules.OneCycle(lr, steps)


def _announce(options: argparse.Namespace, trainer: Trainer, train: Dataset, test: Dataset) -> None:
    decay = f", weight decay {options.weight_decay:g}" if options.weight_decay else ""
    augmented = ", mirrored and shifted at random" if options.augment else ""
    backend = trainer.model.backend.name
    console.print(f"data      {train.name}: {len(train):,} images{augmented}; {test.name}: {len(test):,} images")
    console.print(f"model     {options.model}: {trainer.model.parameters().count:,} parameters, {options.dtype}")
    console.print(
        f"recipe    {options.optimizer}, learning rate {options.lr:g} ({options.schedule}){decay}, batches of"
        f" {options.batch_size}, {options.epochs} epochs, seed {options.seed}"
    )
    if options.resume:
        console.print(f"resumed   after epoch {trainer.epoch}")
    first = "; the first step compiles those kernels that are not kept on disk yet" if backend == "numba" else ""
    console.print(f"backend   {backend}{first}")


def _report(options: argparse.Namespace, trainer: Trainer, files: _Files, elapsed: float) -> None:
    accuracy = trainer.history.history.get("val_accuracy", [])
    if accuracy:
        console.print(f"test accuracy {accuracy[-1]:.2%} after {trainer.epoch} epochs, {elapsed:.1f} s in all")
    console.print(f"weights   {files.weights}")
    console.print(f"history   {files.history}")
    console.print(f"state     {files.checkpoint} (for --resume)")
    console.print(f"next      fastconv evaluate {shlex.quote(str(files.weights))}")
    if options.dataset == "shapes10":
        console.print(
            "CIFAR-10  fastconv train --dataset cifar10 --data-dir DIR"
            "   (binary version from https://www.cs.toronto.edu/~kriz/cifar.html, unpacked in DIR)"
        )
