"""Which folder a training gets: the one that the user names, or the next one that is free."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fastconv.cli.command_line import command_line
from fastconv.errors import ArgumentError
from fastconv.parallel.starting import is_first
from fastconv.training.folder_lock import OwnedError
from fastconv.training.run_folder import RunFolder, owned

NAME = "--output"


@contextmanager
def claim_folder(output: str | None, default: Path) -> Iterator[RunFolder]:
    """Own the folder of a new run within the block: `output`, else `default` or the next one after it that is free.

    Of several ranks the first owns it, and alone writes there.

    Raises
    ------
    ArgumentError
        The folder cannot be written, another training owns it, or it holds a run that this one would overwrite.
    """
    with ExitStack() as stack:
        if not is_first():
            yield RunFolder(default if output is None else Path(output))
        elif output is not None:
            yield stack.enter_context(owned(_unused(output), NAME))
        else:
            yield _own_first_free(default, stack)


def _unused(output: str) -> RunFolder:
    folder = RunFolder(Path(output))
    if folder.holds_run():
        raise ArgumentError(
            f"{NAME}: got {output}, which holds a run; allowed: another folder, or '{command_line(['resume', output])}'"
            " to go on with that run"
        )
    return folder


def _own_first_free(default: Path, stack: ExitStack) -> RunFolder:
    for folder in _numbered(default):
        if not folder.holds_run():
            with suppress(OwnedError):  # another training was quicker: the next number
                return stack.enter_context(owned(folder, NAME))
    raise AssertionError("the numbers ended")


def _numbered(default: Path) -> Iterator[RunFolder]:
    yield RunFolder(default)
    for number in itertools.count(2):
        yield RunFolder(default.with_name(f"{default.name}-{number}"))
