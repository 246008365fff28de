"""The folder of a training run, in the one form that docs/runs.md describes: all who read or write one do it here.

Each file is written all or nothing, the state last, so that a run that is killed at any moment can be taken up from
what lies there. One process at a time owns a folder.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv._files import home_path_of, json_table, parsed_json, write_atomically
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn.model.model import Layer
from fastconv.nn.model.weights import host_tensors, load_weights, read_weights, write_tensors
from fastconv.training import toml
from fastconv.training.entries import settings
from fastconv.training.environment import versions
from fastconv.training.folder_lock import is_locked, lock_folder
from fastconv.training.history import History, recorded
from fastconv.training.recipe import FORMAT, Recipe

MAY_CHANGE = frozenset(("run.epochs", "run.save_every_steps", "run.backend", "data.directory", "data.images"))
"""What of a recipe may be another when a run is taken up: its length, how often it is saved, where from."""
_NEEDED = frozenset(("run.epochs", "run.seed", "run.dtype", "data.name", "model.name", "optimizer.name", "loss.name"))


@dataclass(frozen=True)
class RunFolder:
    """The files of a run; `open` checks that it is one.

    Attributes
    ----------
    directory : Path
    """

    directory: Path

    @property
    def recipe_file(self) -> Path:
        """The complete recipe."""
        return self.directory / "run.toml"

    @property
    def environment_file(self) -> Path:
        """What it ran with, each time that it was begun or taken up, and on which data."""
        return self.directory / "environment.json"

    @property
    def log(self) -> Path:
        """A line of JSON with versions, and one for each epoch."""
        return self.directory / "log.jsonl"

    @property
    def weights(self) -> Path:
        """The weights after the last whole epoch, with what they are weights of."""
        return self.directory / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The state to go on from, which may be one from within an epoch."""
        return self.directory / "checkpoint.safetensors"

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> RunFolder:
        """Return the folder of a run; CheckpointError says why it is none that this version reads."""
        found = cls(home_path_of(directory, "run"))
        shown = os.fspath(directory)
        if not os.path.isdir(found.directory):
            raise CheckpointError(f"run: got {shown!r}, which is no folder; allowed: the folder of a run")
        if not os.path.isfile(found.recipe_file):
            half = " a run that was broken off before its first files were there, or of an older version,"
            raise CheckpointError(
                f"run: got {shown!r},{half if found.holds_run() else ''} without {found.recipe_file.name}; allowed: the"
                " folder of a run"
            )
        _ = found.recipe
        return found

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of a run."""
        return self.recipe_file, self.environment_file, self.log, self.weights, self.checkpoint

    def holds_run(self) -> bool:
        """Return whether a run has written here."""
        return any(map(os.path.exists, self.files))

    def is_running(self) -> bool:
        """Return whether a training owns it now; False where the system cannot tell."""
        return is_locked(self.directory)

    def clear(self) -> None:
        """Take away what a process that was killed had not written to its end."""
        for path in self.files:
            for half in self.directory.glob(f".{path.name}.*.tmp"):
                half.unlink(missing_ok=True)

    @property
    def recipe(self) -> Recipe:
        """The recipe; CheckpointError if it is damaged or of another version."""
        shown = f"{os.fspath(self.directory)!r}, whose {self.recipe_file.name}"
        try:
            found = Recipe.of(toml.load(self.recipe_file))
        except ArgumentError as error:
            raise CheckpointError(f"run: got {shown} cannot be taken; {error}") from error
        missing = _NEEDED - settings(found.tables).keys()
        if missing:
            raise CheckpointError(
                f"run: got {shown} lacks {', '.join(sorted(missing))}; allowed: a complete recipe, as of a training"
            )
        return found

    def read_log(self) -> tuple[dict[str, Any], list[dict[str, float]]]:
        """Return the header, and the entries of the epochs.

        Raises
        ------
        CheckpointError
            It is missing, or a line is no entry of the epoch whose turn it is.
        """
        name = os.fspath(self.log)
        try:
            lines = self.log.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise CheckpointError(f"log: got {name!r} ({reason}); allowed: the log of a run") from error
        if not lines:
            raise CheckpointError(f"log: got {name!r} (empty); allowed: the log of a run")
        header, *entries = [_entry(name, number, line) for number, line in enumerate(lines, start=1)]
        _check_form("log", name, header.get("format"))
        figures = [_figures(name, epoch, entry) for epoch, entry in enumerate(entries, start=1)]
        return header, figures

    def read_history(self) -> History:
        """Return the figures of the epochs."""
        history = History()
        for entry in self.read_log()[1]:
            history.append(entry)
        return history

    def read_environment(self) -> dict[str, Any]:
        """Return {"format", "data", "sessions"}; CheckpointError if it cannot be read."""
        name = os.fspath(self.environment_file)
        try:
            found: dict[str, Any] = parsed_json(self.environment_file.read_text(encoding="utf-8"))
            form, sessions, data = found.get("format"), found.get("sessions"), found.get("data")
        except (OSError, ValueError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or "no such form"
            raise CheckpointError(f"environment: got {name!r} ({reason}); allowed: that of a run") from error
        _check_form("environment", name, form)
        whole = isinstance(sessions, list) and sessions and all(isinstance(each, dict) for each in (*sessions, data))
        if not whole:
            raise CheckpointError(f"environment: got {name!r} (no such form); allowed: that of a run")
        return found

    def check_recipe(self) -> None:
        """Refuse a recipe that was changed since the run was last begun or taken up, but in what may change.

        Raises
        ------
        CheckpointError
            It names what is another.
        """
        began = self.read_environment()["sessions"][-1].get("recipe")  # of an older version none
        if began is None:
            return
        now, then = settings(self.recipe.tables), settings(began)
        odd = [
            f"{key} = {now.get(key, 'nothing')} where the run has {then.get(key, 'nothing')}"
            for key in {**then, **now}
            if now.get(key) != then.get(key) and key not in MAY_CHANGE
        ]
        if odd:
            raise CheckpointError(
                f"run: got {os.fspath(self.directory)!r}, whose {self.recipe_file.name} says {', '.join(odd)}; allowed:"
                f" the recipe of the run, with another {', '.join(sorted(MAY_CHANGE))} at most (a recipe of its own is"
                " that of a new run: fastconv train run.toml)"
            )

    def read_about(self) -> dict[str, Any]:
        """Return what the weights say that they are weights of; CheckpointError if they do not, as another's."""
        _, about = read_weights(self.weights)
        missing = {"input_shape", "class_names"} - about.keys()
        if missing:
            got = f"{os.fspath(self.weights)!r} without {' and '.join(sorted(missing))}"
            raise CheckpointError(f"weights: got {got}; allowed: those that the training wrote")
        return about

    def load_model(self) -> Layer:
        """Return the model with its weights after the last whole epoch; CheckpointError if there are none."""
        about = self.read_about()
        model = self.recipe.make_model(tuple(about["input_shape"]), len(about["class_names"]))
        load_weights(model, self.weights)
        return model

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe."""
        write_atomically(self.recipe_file, toml.dumps(recipe.tables).encode())

    def write_environment(self, data: Mapping[str, Any], sessions: list[Mapping[str, Any]]) -> None:
        """Write facts about the data, and what each session ran with."""
        text = json.dumps({"format": FORMAT, "data": data, "sessions": sessions}, indent=1)
        write_atomically(self.environment_file, f"{text}\n".encode())

    def write_log(self, history: History) -> None:
        """Write the log of all epochs so far; what is not finite becomes null."""
        entries: list[dict[str, Any]] = [{"format": FORMAT, "versions": versions()}]
        for epoch in range(history.epochs):
            row = {name: values[epoch] for name, values in history.history.items()}
            entries.append({"epoch": epoch + 1, **{k: v if math.isfinite(v) else None for k, v in row.items()}})
        write_atomically(self.log, "".join(f"{json.dumps(entry)}\n" for entry in entries).encode())

    def write_weights(self, model: Layer, about: Mapping[str, Any]) -> None:
        """Write weights; `about` has at least model, dataset, input_shape, class_names, mean, std."""
        write_tensors(self.weights, host_tensors(model), {"kind": "weights", "about": dict(about)})


@contextmanager
def owned(folder: RunFolder, name: str = "directory") -> Iterator[RunFolder]:
    """Own the folder within the block, made if need be; what was made and stayed empty is taken away.

    The system gives it back when the process ends, however it ends.

    Parameters
    ----------
    name : str
        What the folder is called in messages.

    Raises
    ------
    ArgumentError
        It cannot be written, or another training owns it (an OwnedError).
    """
    directory = folder.directory
    made = [each for each in (directory, *directory.parents) if not os.path.exists(each)]
    descriptor = None
    try:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = lock_folder(directory, name)
            with tempfile.TemporaryFile(dir=directory) as probe:  # before hours of training, not after
                probe.write(bytes(4096))
            folder.clear()
        except OSError as error:
            raise ArgumentError(
                f"{name}: got {directory} ({error.strerror or error}); allowed: a folder that can be written"
            ) from error
        yield folder
    finally:
        with suppress(OSError):  # it is not empty: something was written
            for each in made:
                each.rmdir()
        if descriptor is not None:
            os.close(descriptor)


def _check_form(what: str, name: str, form: Any) -> None:
    if type(form) is not int or form != FORMAT:
        raise CheckpointError(
            f"{what}: got {name!r}, of the form {form!r:.40}; allowed: {FORMAT}, that of this version"
        )


def _entry(name: str, number: int, line: str) -> dict[str, Any]:
    entry = json_table(line)
    if entry is None:
        raise CheckpointError(f"log: got {name!r}, whose line {number} is no entry; allowed: the log of a run")
    return entry


def _figures(name: str, epoch: int, entry: Mapping[str, Any]) -> dict[str, float]:
    line = f"{name!r}, whose line {epoch + 1}"
    if type(entry.get("epoch")) is not int or entry["epoch"] != epoch:
        raise CheckpointError(f"log: got {line} is not of epoch {epoch}; allowed: the log of a run")
    found = {}
    for key, value in entry.items():
        if key != "epoch":
            try:
                found[key] = recorded(value)
            except ValueError:
                raise CheckpointError(
                    f"log: got {line} has {key} = {value!r:.40}; allowed: the log of a run, of finite numbers and null"
                ) from None
    return found
