"""``fastconv resume``: go on with a training that was interrupted or killed, or for more epochs."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext

from fastconv._console import count
from fastconv.cli.command_line import command_line
from fastconv.cli.recipes import absolute
from fastconv.cli.running import TrainingRun, as_argument, check_data, compute_as, facts_of
from fastconv.data import SOURCES
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.parallel.starting import is_first
from fastconv.training.named import NAME
from fastconv.training.recipe import Recipe
from fastconv.training.run_data import load_data
from fastconv.training.run_folder import RunFolder, owned


def run(options: argparse.Namespace) -> int:
    """Go on as if nothing had been in between; the folder tells all that it takes."""
    began = time.perf_counter()
    files = RunFolder.open(options.folder)
    with owned(files, "run") if is_first() else nullcontext():
        before = files.recipe
        recipe = _changed(before, options)
        compute_as(recipe, options.threads)
        begun = files.checkpoint.exists() or files.environment_file.exists()  # else it was killed at its very beginning
        if begun:
            files.check_recipe()
            _check_state(files)
        train, test = load_data(recipe)
        if begun:
            check_data(files.read_environment()["data"], facts_of(recipe, train, test))
        this = TrainingRun.prepare(recipe, files, train, test)
        if files.checkpoint.exists():
            this.trainer.restore(files.checkpoint)
        this.announce()
        _announce_resumed(this, before)
        return this.fit(options, began)


def _check_state(files: RunFolder) -> None:
    """Refuse a run whose state was taken away, which would begin anew and write over what it had.

    One that was killed behind its first epoch, before the state was there, has one line in its log.
    """
    if files.checkpoint.exists() or not files.log.exists():
        return
    epochs = files.read_history().epochs
    if epochs > 1:
        raise CheckpointError(
            f"run: got {str(files.directory)!r}, whose log has {epochs} epochs, without {files.checkpoint.name}, the"
            " state to go on from; allowed: a run with it, or a new one of the same recipe,"
            f" '{command_line(['train', as_argument(files.recipe_file)])}'"
        )


def _changed(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return the recipe with what may be another: how long, how often it is saved, and where it is computed from."""
    run = {name: getattr(options, name) for name in ("epochs", "save_every_steps", "backend")}
    own = "images" in recipe.tables["data"]
    option, odd = ("--data-dir", options.data_dir) if own else ("--images", options.images)
    if odd is not None:
        name = recipe.tables["data"].get(NAME)
        source = SOURCES.get(name)
        of, moved = ("a folder of images", "--images DIR") if own else (name, "--data-dir DIR")
        allowed = f"{moved} where that lies elsewhere by now"
        if source is not None and source.is_drawn:
            allowed = f"neither that nor --data-dir, as {name} is drawn"
        raise ArgumentError(f"{option}: got {odd} for a run on {of}; allowed: {allowed}")
    data = {
        key: absolute(path)
        for key, path in (("directory", options.data_dir), ("images", options.images))
        if path is not None
    }
    return recipe.changed("run", **{name: value for name, value in run.items() if value is not None}).changed(
        "data", **data
    )


def _announce_resumed(this: TrainingRun, before: Recipe) -> None:
    trainer, epochs = this.trainer, this.recipe.epochs
    done = f"after epoch {trainer.epoch}" if trainer.step else "from the beginning"
    if trainer.position is not None:
        done = f"in epoch {trainer.epoch + 1}, after batch {trainer.position['done']} of {trainer.position['batches']}"
    ended = trainer.stop and trainer.position is None
    over = ended or trainer.epoch >= epochs
    print(f"resumed   {done}{f' of {epochs}' if over else ''}", end="")
    print(f": {'a callback ended it' if ended else 'nothing is left to do'}" if over else "")
    schedule = this.recipe.schedule_name
    if before.epochs != epochs and schedule != "Constant":
        print(f"          the schedule ({schedule}) now spans {count(epochs, 'epoch')}, not {before.epochs}")
