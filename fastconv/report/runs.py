"""The runs of a report, as their folders tell them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv._console import count, short_number
from fastconv._files import home_path_of
from fastconv.errors import ArgumentError
from fastconv.training.history import History
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder

MOST = 7
"""Runs on a page: as many as there are colours."""


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes
    ----------
    name : str
        That of its folder, or its path if another run has that name.
    path : str
        As it was given.
    folder : RunFolder
    recipe : Recipe
    history : History
    environment : dict
        What it ran with when it was last taken up.
    running : bool
        Whether a training owns the folder.
    """

    name: str
    path: str
    folder: RunFolder
    recipe: Recipe
    history: History
    environment: Mapping[str, Any]
    running: bool

    @property
    def status(self) -> str:
        """Say how far it is."""
        done = f"{self.history.epochs} of {count(self.recipe.epochs, 'epoch')}"
        if self.running:
            return f"still running: {done} {'is' if self.recipe.epochs == 1 else 'are'} over"
        return "complete" if self.complete else f"ended after {done}"

    @property
    def complete(self) -> bool:
        """Whether all epochs are over."""
        return not self.running and self.history.epochs >= self.recipe.epochs

    @property
    def missing(self) -> str:
        """Say what is not there that the log tells of; "" if all is."""
        if not self.history.epochs or self.folder.weights.is_file():
            return ""
        epochs, name = count(self.history.epochs, "epoch"), self.folder.weights.name
        return f"half written: its log has {epochs}, but there is no file {name} with the weights after the last one"


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Return the runs in these folders.

    Raises
    ------
    ArgumentError
        There is none, more than MOST, or one twice.
    CheckpointError
        One is no folder of a run, or a file of it but the weights is missing, damaged or of another version.
    """
    given = [os.fspath(home_path_of(path, "runs")) for path in paths]
    if not 1 <= len(given) <= MOST:
        raise ArgumentError(f"runs: got {len(given) or 'none'}; allowed: 1 to {MOST} folders of runs")
    real = [os.path.realpath(path) for path in given]
    for path, times in Counter(real).items():
        if times > 1:
            raise ArgumentError(f"runs: got {given[real.index(path)]!r} more than once; allowed: each run once")
    names = [Path(path).name or path for path in real]
    unique = [name if names.count(name) == 1 else path for name, path in zip(names, given, strict=True)]
    return [_read(name, path) for name, path in zip(unique, given, strict=True)]


def _read(name: str, path: str) -> Run:
    folder = RunFolder.open(path)
    running = folder.is_running()  # first: what ends meanwhile is then called running, not the other way round
    sessions = folder.read_environment()["sessions"]
    ran_with = {key: value for key, value in sessions[-1].items() if key != "recipe"}
    return Run(name, path, folder, folder.recipe, folder.read_history(), ran_with, running)


def key_figures(run: Run) -> dict[str, str]:
    """Return what stands at the head of the page."""
    found = run.history.history
    told = {"model": str(run.recipe.tables["model"]["name"]), "images": str(run.recipe.tables["data"]["name"])}
    for name, best in (("val_accuracy", np.nanargmax), ("val_loss", np.nanargmin)):
        values = np.array(found.get(name, []))
        losses = np.array(found.get("val_loss", values))
        if np.isfinite(values).any():
            shown = "{:.2%}".format if name == "val_accuracy" else short_number
            told[f"{name.removeprefix('val_')} on test images"] = shown(values[-1])
            judged = np.where(np.isfinite(losses) & np.isfinite(values), values, np.nan)  # NaN is in the first class
            if np.isfinite(judged).any():
                at = int(best(judged))
                told[f"best {name.removeprefix('val_')}"] = f"{shown(values[at])} (epoch {at + 1})"
    if "seconds" in found:
        told["training"] = f"{np.nansum(found['seconds']):,.1f} s"
    if found.get("images_per_second"):
        told["images a second"] = f"{np.nanmedian(found['images_per_second']):,.0f}"
    return told
