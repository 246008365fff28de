"""A report that goes on with its runs: written anew after each epoch, until all are over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastconv.report.page import Report, make_report
from fastconv.training.run_folder import RunFolder

_PAUSE = 0.5  # seconds between two looks at the folders
_RELOAD = 5.0  # seconds after which an open page looks for a new one


def follow(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    told: Callable[[Report], None] = lambda report: None,
    reload_seconds: float = _RELOAD,
    **settings: Any,
) -> Report:
    """Write the page after each epoch until no training owns one of the folders, and return the last one.

    An open page loads itself again, up to the last one, which does not: nothing serves it. Layers are timed once all
    runs are over, for timing would disturb them.

    Parameters
    ----------
    runs : sequence of path
        Folders of runs.
    output : path
        Of the page.
    told : function
        Is called with each page that was written.
    reload_seconds : float
        How often an open page looks for a new one.
    **settings
        Of `make_report`.

    Returns
    -------
    Report
        The last one. Errors are those of `make_report` and `Report.save`.

    Examples
    --------
    >>> from fastconv import cli
    >>> cli.main("train --model lenet5 --limit 20 --epochs 1 --output run".split())
    data ...
    0
    >>> report = fc.report.follow(["run"], "run/report.html", compute=False)  # it is over already
    >>> report.notes
    ()
    """
    folders = [RunFolder.open(path) for path in runs]
    report: Report | None = None
    try:
        while any(folder.is_running() for folder in folders):
            seen = _marks(folders)
            report = make_report(*runs, **settings | {"timed": False}, reload_seconds=reload_seconds)
            report.save(output)
            told(report)
            while _marks(folders) == seen and any(folder.is_running() for folder in folders):
                time.sleep(_PAUSE)
    except KeyboardInterrupt:
        if report is not None:
            report.settled().save(output)  # so that an open page stops, too
        raise
    last = make_report(*runs, **settings)
    last.save(output)
    told(last)
    return last


def _marks(folders: Sequence[RunFolder]) -> list[tuple[int, int] | None]:
    """Return what changes when a log is written."""
    stats = [folder.log.stat() if folder.log.exists() else None for folder in folders]
    return [(stat.st_mtime_ns, stat.st_ino) if stat else None for stat in stats]
