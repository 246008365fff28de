"""What training and going on with one share: data and trainer of a recipe, what is shown, and the way out."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastconv as fc
from fastconv._console import count, one_line
from fastconv.cli.choices import apply_computing_options
from fastconv.cli.command_line import command_line, kept_options
from fastconv.data import SOURCES, DataLoader, Dataset
from fastconv.errors import DataError
from fastconv.training import ProgressDisplay, StopOnSignal, Trainer
from fastconv.training.environment import data_facts
from fastconv.training.named import NAME
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder
from fastconv.training.run_saver import RunSaver


def compute_as(recipe: Recipe, threads: int | None) -> None:
    """Make backend, precision and algorithm of a recipe, what it does not leave open, and so many threads active."""
    chosen = {name: recipe.tables["run"].get(name) for name in ("backend", "precision", "algorithm")}
    apply_computing_options(argparse.Namespace(threads=threads, **chosen))


def facts_of(recipe: Recipe, train: Dataset, test: Dataset) -> dict[str, Any]:
    """Return by what the images are known again; those that the program draws are always the same."""
    source = SOURCES.get(recipe.tables["data"][NAME])
    return {} if source is not None and source.is_drawn else data_facts(train, test)


@dataclass(frozen=True)
class TrainingRun:
    """A trainer, and what it trains on."""

    recipe: Recipe
    files: RunFolder
    trainer: Trainer
    data: tuple[Dataset, Dataset]
    train: DataLoader
    test: DataLoader

    @classmethod
    def prepare(cls, recipe: Recipe, files: RunFolder, train: Dataset, test: Dataset) -> TrainingRun:
        """Make the trainer of a recipe."""
        tables = recipe.tables
        fc.seed(tables["run"]["seed"])
        shape = train.images.shape[1:]
        model = recipe.make_model(shape, len(train.class_names))
        loader = recipe.make_loader(train)
        data = tables["data"]
        about = {
            "model": tables["model"][NAME],
            "dataset": data[NAME],
            **{key: data[key] for key in ("image_size", "image_fit") if key in data},
            "input_shape": shape,
            "class_names": train.class_names,
            "mean": loader.mean,
            "std": loader.std,
            "recipe": tables,
        }
        facts = facts_of(recipe, train, test)
        saver = RunSaver(files, recipe, about, facts, every_steps=tables["run"].get("save_every_steps", 0))
        callbacks = (ProgressDisplay(sys.stdout, bar=sys.stderr), StopOnSignal(), saver)
        trainer = recipe.make_trainer(model, len(loader), callbacks)
        test_loader = DataLoader(test, 256, shuffle=False, dtype=loader.dtype)
        return cls(recipe, files, trainer, (train, test), loader, test_loader)

    def announce(self) -> None:
        """Show what is trained on what."""
        tables, (train, test) = self.recipe.tables, self.data
        print(one_line(f"data      {train.name}: {len(train):,} images; {test.name}: {len(test):,} images"))
        changes = [each[NAME] for each in tables["augmentation"]]
        if changes:
            how = "mirrored and shifted" if changes == ["FlipCrop"] else f"changed by {', '.join(changes)}"
            print(f"          {how} at random")
        run, model, optimizer = tables["run"], tables["model"][NAME], tables["optimizer"]
        print(f"model     {model}: {self.trainer.model.parameters().count:,} parameters, {run['dtype']}")
        decay = f", weight decay {optimizer['weight_decay']:g}" if optimizer.get("weight_decay") else ""
        _, number = self.recipe.schedule_rate or ("lr", self.recipe.learning_rate)
        shown = f"learning rate {number:g}" if isinstance(number, int | float) else "learning rates"
        rate = f"{shown} ({self.recipe.schedule_name})"
        print(f"recipe    {optimizer[NAME]}, {rate}{decay}")
        batch = tables["loader"]["batch_size"]
        print(f"          {count(self.recipe.epochs, 'epoch')}, batches of {batch}, seed {run['seed']}")
        print(f"backend   {self.trainer.model.backend.name}")

    def fit(self, options: argparse.Namespace, began: float) -> int:
        """Train until the recipe's last epoch, and print where the results are; return the exit status."""
        sys.stdout.flush()  # if nobody reads it, better now than after the first epoch
        trainer, left = self.trainer, self.recipe.epochs - self.trainer.epoch
        if left > 0 and not (trainer.stop and trainer.position is None):
            try:
                trainer.fit(self.train, left, validation_data=self.test, **self.recipe.tables["fit"])
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._how_to_go_on(options)) from None
            if trainer.stop_now:
                print(f"stopped   in epoch {trainer.epoch + 1}, after step {trainer.step}")
                print(self._how_to_go_on(options))
                return os.EX_TEMPFAIL
        self._report(options, time.perf_counter() - began)
        return 0

    def _how_to_go_on(self, options: argparse.Namespace) -> str:
        if not self.files.recipe_file.exists():
            return "the first epoch was not over: nothing was written"
        threads = [] if options.threads is None else [f"--threads={options.threads}"]
        parallel = self.trainer.parallel
        ranks = [] if parallel is None or parallel.size == 1 else ["launch", "-n", str(parallel.size)]
        return f"to go on: {command_line([*ranks, 'resume', as_argument(self.files.directory), *threads])}"

    def _report(self, options: argparse.Namespace, elapsed: float) -> None:
        accuracy = self.trainer.history.history.get("val_accuracy", [])
        if accuracy:
            epochs = count(self.trainer.epoch, "epoch")
            print(f"test accuracy {accuracy[-1]:.2%} after {epochs}, {elapsed:.1f} s in all")
        sparsity = self.trainer.history.history.get("sparsity", [])
        if sparsity:
            print(f"sparsity  {sparsity[-1]:.2%} of the weights are zero")
        print(one_line(f"weights   {self.files.weights}"))
        print(one_line(f"log       {self.files.log}"))
        print(one_line(f"recipe    {self.files.recipe_file}"))
        print(f"next      {command_line(['evaluate', as_argument(self.files.directory), *kept_options(options)])}")
        if self.recipe.tables["data"][NAME] == "shapes10":
            print("CIFAR-10  fastconv data download cifar10 --data-dir DIR")
            print("          fastconv train --dataset cifar10 --data-dir DIR")


def check_data(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse images that are not those of the run."""
    if dict(recorded) == dict(facts):
        return
    parts = {key: (recorded.get(key), facts.get(key)) for key in ("train", "test", "class_names")}
    odd = [f"{now} for {key} where the run has {then}" for key, (then, now) in parts.items() if then != now]
    raise DataError(
        f"data: got {', '.join(odd) or 'other pixels or labels in as many images'}; allowed: the images that the run"
        " was begun with, or a new run (what was added, removed or changed since would make it another one)"
    )


def as_argument(path: Path) -> str:
    """Return `path` in a form that is not taken for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)
