"""The callback that writes the folder of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastconv import _validate as validate
from fastconv._files import reason
from fastconv.errors import ArgumentError, DataError
from fastconv.training.callbacks import Callback, StepInfo, Training
from fastconv.training.environment import environment
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder


class RunSaver(Callback):
    """Writes the files of a run after each epoch, as long as its losses are finite, and its state after some steps.

    The caller owns the folder (`run_folder.owned`). The recipe is there from the beginning, so that a run that is
    killed before its first state was written can be begun anew; one that ends by itself before that leaves nothing.

    Parameters
    ----------
    folder : RunFolder
    recipe : Recipe
    about : mapping
        What the weights file says of the data: see `RunFolder.write_weights`.
    data : mapping
        Facts about the data, by which it is known again.
    every_steps : int
        Write the state after so many steps, too; 0: after epochs only.
    """

    saves = True
    first_rank_only = True

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        about: Mapping[str, Any],
        data: Mapping[str, Any],
        *,
        every_steps: int = 0,
    ) -> None:
        self._folder, self._recipe, self._about, self._data = folder, recipe, about, data
        self._every_steps = validate.at_least(every_steps, 0, "every_steps")
        self._begun = False
        self._new: list[Path] = []

    def __repr__(self) -> str:
        return f"RunSaver({str(self._folder.directory)!r})"

    def files(self) -> tuple[Path, ...]:
        """Return those of the run, which no other callback may write."""
        return self._folder.files

    def on_train_begin(self, trainer: Training) -> None:
        """Write what does not change, of a new run."""
        folder = self._folder
        if not folder.checkpoint.exists():
            self._new = [
                path for path in (folder.environment_file, folder.recipe_file, folder.log) if not path.exists()
            ]
            with self._told("before the first step"):
                self._begin(trainer)
                folder.write_log(trainer.history)

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        """Write the state, if it is time; at the end of an epoch there is a better one soon."""
        due = self._every_steps and trainer.step % self._every_steps == 0 and info.batch < info.batches
        if due or getattr(trainer, "stop_now", False):  # or a callback ends the training here
            if not math.isfinite(float(info.loss)):
                raise _not_finite("loss", float(info.loss), trainer.epoch + 1)
            self._write(trainer, whole=False)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Write everything."""
        for name in ("loss", "val_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise _not_finite(name, logs[name], trainer.epoch)
        self._write(trainer, whole=True)

    def on_train_end(self, trainer: Training) -> None:
        """Take away what was written, if nothing came of it.

        The files tell: an interrupt may come between a file's last byte and the next line here.
        """
        if not (self._folder.checkpoint.exists() or self._folder.weights.exists()):
            for path in self._new:
                path.unlink(missing_ok=True)

    def _write(self, trainer: Training, *, whole: bool) -> None:
        with self._told(f"after epoch {trainer.epoch}" if whole else f"after step {trainer.step}"):
            if whole:
                self._folder.write_weights(trainer.model, self._about)
                self._folder.write_log(trainer.history)
            if not self._begun:  # before the state, which is one of this recipe
                self._begin(trainer)
            trainer.save(self._folder.checkpoint)

    def _begin(self, trainer: Training) -> None:
        """Write the recipe, first of all: it makes the folder one of a run. Then what it runs with."""
        folder = self._folder
        sessions = folder.read_environment()["sessions"] if folder.environment_file.exists() else []
        folder.write_recipe(self._recipe)
        session = {"first_save": trainer.step, **environment(), "recipe": self._recipe.tables}
        folder.write_environment(self._data, [*sessions, session])
        self._begun = True

    @contextmanager
    def _told(self, when: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArgumentError(
                f"--output: got {self._folder.directory} ({reason(error)}) {when}; allowed: a folder that can"
                " be written, with room for the files of the run"
            ) from error


def _not_finite(name: str, value: float, epoch: int) -> DataError:
    return DataError(
        f"{name}: got {value} in epoch {epoch}; allowed: a finite one (try a lower --lr); nothing of this epoch was"
        " written"
    )
