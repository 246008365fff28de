"""``fastconv data``: which data sets there are, and their files from the net."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastconv._console import make_console, make_table, one_line, print_table
from fastconv.cli.command_line import command_line
from fastconv.data import SOURCES, default_directory, download
from fastconv.data.downloads import Progress
from fastconv.data.sources import Source
from fastconv.errors import DataError


def run(options: argparse.Namespace) -> int:
    """List the data sets, or get the files of one."""
    if options.action == "list":
        return _list(options.data_dir)
    return _download(options)


def _list(directory: str | None) -> int:
    table = make_table("name", "what it is", "download", "state", right=("download",))
    for source in SOURCES.values():
        size = sum(file.size for file in source.files)
        table.add_row(source.name, source.about, f"{size / 1e6:,.0f} MB" if size else "none", _state(source, directory))
    print_table(table)
    print(one_line(f"looked for in {directory or default_directory()}"))
    return 0


def _state(source: Source, directory: str | None) -> str:
    """Tell whether the test part can be read."""
    try:
        source.read(None if source.is_drawn else directory, "test", 1)
    except DataError as error:
        return "not there" if str(error).startswith(f"{source.name}: no ") else f"unusable: {error}"
    return "ready"


def _download(options: argparse.Namespace) -> int:
    try:
        with _bar() as progress:
            root = download(options.name, options.data_dir, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"to go on: {command_line(options.words)}") from None
    print(one_line(f"{options.name} is in {root}"))
    train = ["train", "--dataset", options.name, *([] if options.data_dir is None else ["--data-dir", str(root)])]
    print(f"next      {command_line(train)}")
    return 0


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """Show how far each file is, on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress

    tasks: dict[str, Any] = {}
    columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
    text = progress.TextColumn("{task.description}", markup=False)
    with progress.Progress(text, *columns, console=make_console(sys.stderr)) as bar:

        def tell(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=size)
            bar.update(tasks[name], completed=done)

        yield tell
