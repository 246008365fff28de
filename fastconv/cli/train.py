"""``fastconv train``: train a network, show how it goes, and write what came out."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastconv as fc
from fastconv.cli import own_images
from fastconv.cli.choices import RECIPES, apply_computing_options, load_dataset, make_model, make_optimizer
from fastconv.cli.command_line import command_line, kept_options
from fastconv.cli.run_folder import RunFolder, claim_folder
from fastconv.cli.trained import save_trained
from fastconv.data import SOURCES, DataLoader, Dataset, FlipCrop
from fastconv.errors import ArgumentError, DataError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import schedules
from fastconv.optim.schedules import Schedule
from fastconv.training import Callback, ProgressDisplay, Trainer, Training

_RECIPE = (
    *("model", "dataset", "image_size", "image_fit", "limit", "augment", "batch_size", "seed", "dtype"),
    *("optimizer", "lr", "schedule", "weight_decay", "label_smoothing"),
)


class _Save(Callback):
    """Writes the files of the run, as long as what is computed makes sense."""

    def __init__(self, files: RunFolder, about: Mapping[str, Any]) -> None:
        self._files, self._about = files, about

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Write weights, history and checkpoint."""
        for name in ("loss", "val_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise DataError(
                    f"{name}: got {logs[name]} in epoch {trainer.epoch}; allowed: a finite one"
                    " (try a lower --lr); nothing of this epoch was written"
                )
        try:
            save_trained(self._files.weights, trainer.model, self._about)
            trainer.history.save(self._files.history)
            trainer.save(self._files.checkpoint)
        except OSError as error:
            raise ArgumentError(
                f"--output: got {self._files.directory} ({error.strerror or error}) after epoch {trainer.epoch};"
                " allowed: a folder that can be written, with room for the files of the run"
            ) from error


def run(options: argparse.Namespace) -> int:
    """Train, and print where the results are."""
    began = time.perf_counter()
    _fill_in_recipe(options)
    apply_computing_options(options)
    fc.seed(options.seed)
    train, test = _load(options)
    if not len(train):
        raise DataError(f"data: got no images in {train.name}; allowed: one or more")
    default = Path("runs") / f"{options.dataset}-{options.model}"
    with claim_folder(options.output, default, resume=options.resume) as files:
        before = _recipe_to_resume(options, files) if options.resume else {}
        trainer, train_loader, test_loader = _prepare(options, train, test, files)
        if options.resume:
            trainer.restore(files.checkpoint)
        _announce(options, trainer, train, test)
        if options.resume:
            _announce_resumed(options, trainer, before)
        sys.stdout.flush()  # if nobody reads it, better now than after the first epoch
        if trainer.epoch < options.epochs:
            _fit(options, trainer, train_loader, test_loader, files)
        _report(options, trainer, files, time.perf_counter() - began)
    return 0


def _load(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    if options.images is not None:
        parts = own_images.load_parts(options, vars(options))
        return parts["train"], parts["test"]
    return load_dataset(options, options.dataset, "train"), load_dataset(options, options.dataset, "test")


def _fit(options: argparse.Namespace, trainer: Trainer, train: DataLoader, test: DataLoader, files: RunFolder) -> None:
    try:
        trainer.fit(train, options.epochs - trainer.epoch, validation_data=test)
    except KeyboardInterrupt:
        if files.checkpoint.exists():
            raise KeyboardInterrupt(f"to go on: {_resume_command(options, files)}") from None
        raise KeyboardInterrupt("the first epoch was not over: nothing was written") from None


def _fill_in_recipe(options: argparse.Namespace) -> None:
    _fill_in_data(options)
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


def _fill_in_data(options: argparse.Namespace) -> None:
    if options.images is not None:
        own_images.check_alone(options, "dataset", "data_dir")
        options.dataset = own_images.NAME
        options.image_size = options.image_size or [32, 32]
        options.image_fit = options.image_fit or "crop"
        epochs, augmented = own_images.EPOCHS, True
    else:
        for name in ("image_size", "image_fit"):
            if getattr(options, name) is not None:
                raise ArgumentError(f"--{name.replace('_', '-')}: got it without --images; allowed: beside --images")
        options.dataset = options.dataset or "shapes10"
        epochs, augmented = SOURCES[options.dataset].epochs, SOURCES[options.dataset].augmented
    options.epochs = options.epochs or epochs
    if options.augment is None:
        options.augment = augmented


def _recipe(options: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the result, beside --epochs; a run that is resumed must have the same."""
    recipe = {name: getattr(options, name) for name in _RECIPE}
    return recipe | {"precision": fc.get_precision(), "algorithm": fc.get_algorithm()}


def _recipe_to_resume(options: argparse.Namespace, files: RunFolder) -> dict[str, Any]:
    """Return the recipe of the run in `files`; ArgumentError if it is not the one of `options`."""
    before = files.read_recipe()
    changed = [
        f"--{name.replace('_', '-')} {value} where the run has {before.get(name)}"
        for name, value in _recipe(options).items()
        if before.get(name) != value
    ]
    if changed:
        raise ArgumentError(
            f"--resume: got {', '.join(changed)}; allowed: the recipe of the run in {files.directory}, of which only"
            " --epochs may differ (where and with what it is computed may: --backend, --threads, --data-dir, --images)"
        )
    return before


def _prepare(
    options: argparse.Namespace, train: Dataset, test: Dataset, files: RunFolder
) -> tuple[Trainer, DataLoader, DataLoader]:
    shape = train.images.shape[1:]
    model = make_model(options.model, len(train.class_names), shape, dtype=options.dtype, seed=options.seed)
    train_loader = DataLoader(
        train,
        options.batch_size,
        augmentation=FlipCrop() if options.augment else None,
        seed=options.seed,
        dtype=options.dtype,
    )
    test_loader = DataLoader(test, 256, shuffle=False, dtype=options.dtype)
    about = {**_recipe(options), "epochs": options.epochs}
    about |= {
        "input_shape": shape,
        "class_names": train.class_names,
        "mean": train_loader.mean,
        "std": train_loader.std,
    }
    optimizer = make_optimizer(options.optimizer, model.parameters(), options.lr, options.weight_decay)
    schedule = _schedule(options.schedule, options.lr, len(train_loader) * options.epochs)
    loss = SoftmaxCrossEntropy(options.label_smoothing)
    callbacks = (_Save(files, about), ProgressDisplay(sys.stdout, bar=sys.stderr))
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
    print(f"data      {train.name}: {len(train):,} images; {test.name}: {len(test):,} images")
    if options.augment:
        print("          mirrored and shifted at random")
    print(f"model     {options.model}: {trainer.model.parameters().count:,} parameters, {options.dtype}")
    print(f"recipe    {options.optimizer}, learning rate {options.lr:g} ({options.schedule}){decay}")
    print(f"          {_epochs(options.epochs)}, batches of {options.batch_size}, seed {options.seed}")
    print(f"backend   {trainer.model.backend.name}")


def _announce_resumed(options: argparse.Namespace, trainer: Trainer, before: Mapping[str, Any]) -> None:
    print(f"resumed   after epoch {trainer.epoch}", end="")
    print("" if trainer.epoch < options.epochs else f" of {options.epochs}: nothing is left to do")
    if before["epochs"] != options.epochs and options.schedule != "constant":
        print(
            f"          the schedule ({options.schedule}) now spans {_epochs(options.epochs)}, not {before['epochs']}"
        )


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _report(options: argparse.Namespace, trainer: Trainer, files: RunFolder, elapsed: float) -> None:
    accuracy = trainer.history.history.get("val_accuracy", [])
    if accuracy:
        print(f"test accuracy {accuracy[-1]:.2%} after {_epochs(trainer.epoch)}, {elapsed:.1f} s in all")
    print(f"weights   {files.weights}")
    print(f"history   {files.history}")
    print(f"state     {files.checkpoint} (for --resume)")
    print(f"next      {_evaluate_command(options, files)}")
    if options.dataset == "shapes10":
        print("CIFAR-10  fastconv data download cifar10 --data-dir DIR")
        print("          fastconv train --dataset cifar10 --data-dir DIR")


def _evaluate_command(options: argparse.Namespace, files: RunFolder) -> str:
    return command_line(["evaluate", _as_argument(files.weights), *kept_options(options)])


def _resume_command(options: argparse.Namespace, files: RunFolder) -> str:
    words = list(options.words)
    if options.output is None:
        words.append(f"--output={files.directory}")
    if not options.resume:
        words.append("--resume")
    return command_line(words)


def _as_argument(path: Path) -> str:
    """Return `path` in a form that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)
