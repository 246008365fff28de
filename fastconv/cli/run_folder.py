"""The folder of a training run: its files, and that one training at a time owns it."""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.nn.model.weights import read_tensors


@dataclass(frozen=True)
class RunFolder:
    """What a run writes, anew after each epoch and all or nothing: an interrupted run loses one epoch at most."""

    directory: Path

    @property
    def weights(self) -> Path:
        """The weights, with the recipe that they come from."""
        return self.directory / "weights.safetensors"

    @property
    def history(self) -> Path:
        """The figures of each epoch."""
        return self.directory / "history.json"

    @property
    def checkpoint(self) -> Path:
        """What ``--resume`` goes on from; the last one written, so that the others are there if it is."""
        return self.directory / "checkpoint.safetensors"

    def holds_run(self) -> bool:
        """Return whether a run has written here."""
        return any(path.exists() for path in (self.weights, self.history, self.checkpoint))

    def read_recipe(self) -> dict[str, Any]:
        """Return what the run's weights say of how they were trained; CheckpointError if they cannot be read."""
        recipe: dict[str, Any] = read_tensors(self.weights, kind="weights")[1].get("about", {})
        return recipe


class _OwnedError(ArgumentError):
    """Another training owns the folder."""


@contextmanager
def claim_folder(output: str | None, default: Path, *, resume: bool) -> Iterator[RunFolder]:
    """Own the folder of a run within the block: `output`, else `default` or the next one behind it that is free.

    The system gives the folder back when the process ends, however it ends.

    Raises
    ------
    ArgumentError
        The folder cannot be written, another training owns it, or it holds a run that this one would overwrite;
        with `resume`, it holds none.
    """
    with ExitStack() as owned:
        if resume:
            yield owned.enter_context(_owned(_folder_to_resume(output, default)))
        elif output is not None:
            yield owned.enter_context(_owned(_unused(output)))
        else:
            yield _own_first_free(default, owned)


def _unused(output: str) -> RunFolder:
    folder = RunFolder(Path(output))
    if folder.holds_run():
        raise ArgumentError(
            f"--output: got {output}, which holds a run; allowed: another folder, or --resume to go on with that run"
        )
    return folder


def _own_first_free(default: Path, owned: ExitStack) -> RunFolder:
    for folder in _numbered(default):
        if not folder.holds_run():
            with suppress(_OwnedError):
                return owned.enter_context(_owned(folder))
    raise AssertionError("the numbers ended")


def _numbered(default: Path) -> Iterator[RunFolder]:
    yield RunFolder(default)
    for number in itertools.count(2):
        yield RunFolder(default.with_name(f"{default.name}-{number}"))


def _folder_to_resume(output: str | None, default: Path) -> RunFolder:
    if output is not None:
        folders = [RunFolder(Path(output))]
    else:
        folders = list(itertools.takewhile(RunFolder.holds_run, _numbered(default))) or [RunFolder(default)]
    if len(folders) > 1:
        names = ", ".join(str(folder.directory) for folder in folders)
        raise ArgumentError(f"--output: got none for --resume; allowed: one of {names}")
    if not folders[0].checkpoint.exists():
        raise ArgumentError(
            f"--resume: got {folders[0].directory}, where there is no {folders[0].checkpoint.name};"
            " allowed: with the folder of a run as --output"
        )
    return folders[0]


@contextmanager
def _owned(folder: RunFolder) -> Iterator[RunFolder]:
    directory = folder.directory
    made = not directory.exists()
    descriptor = None
    try:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(directory, os.O_RDONLY)
            _lock(descriptor, directory)
            with tempfile.TemporaryFile(dir=directory) as probe:  # before hours of training, not after
                probe.write(bytes(4096))
        except OSError as error:
            raise ArgumentError(
                f"--output: got {directory} ({error.strerror or error}); allowed: a folder that can be written"
            ) from error
        yield folder
    finally:
        if made:
            with suppress(OSError):  # it is not empty: something was written
                directory.rmdir()
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _OwnedError(
            f"--output: got {directory}, where another training is running; allowed: a folder for each"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{directory} cannot be locked ({error.strerror}), so nothing keeps a second training out of it",
            stacklevel=2,
        )
