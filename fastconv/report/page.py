"""The page: what it shows of the runs, and how it is made of the template."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._console import shell_word
from fastconv._files import home_path_of, write_atomically
from fastconv.errors import ArgumentError
from fastconv.plot.checking import numbers
from fastconv.report import pictures
from fastconv.report.findings import Findings, Judged, look_into
from fastconv.report.runs import Run, key_figures, read_runs
from fastconv.training.diagnostics import Machine, Profile, verdict
from fastconv.training.entries import settings
from fastconv.training.environment import versions
from fastconv.training.logits import most_confused

LIMIT = 300_000
"""Bytes of a page at most."""
FILE_NAME = "report.html"
_MARK = '<meta name="generator" content="fastconv report">'
_HEAD = 4096  # bytes of a file in which that stands
_TABLE = 20  # classes whose confusions stand in a table
_NOT_DRAWN = ("seconds",)  # images_per_second tells the same
_OF_A_WEIGHT = "sparsity/"  # what a log has of each weight that is pruned
_NAMED = 20  # quantities without a chart
# HTML has no characters that command a terminal; those of names are shown by their signs, U+2400 and on.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\r\t"} | {127: 0x2421}


_Charts = dict[tuple[str, int], dict[str, Any]]  # by quantity and points


@dataclass(frozen=True)
class _Detail:
    """How much of everything is shown, so that the page stays below its limit."""

    charts: int
    images: int
    filters: int
    rows: int
    points: int


_DETAILS = (
    _Detail(24, 12, 64, 200, 300),
    _Detail(24, 8, 32, 80, 120),
    _Detail(12, 4, 32, 30, 60),
    _Detail(6, 0, 16, 10, 20),
)


@dataclass(frozen=True)
class Report:
    """A page; a notebook shows it.

    Parameters
    ----------
    html : str
        The page, in one piece: it asks nothing of any network.
    notes : tuple of str
        What could not be looked at, and why.
    _made_of : tuple
        What it is composed of again when it is settled.

    Examples
    --------
    >>> fc.report.Report("<!doctype html>...", notes=("no images",)).notes
    ('no images',)
    """

    html: str
    notes: tuple[str, ...] = ()
    _made_of: tuple[Sequence[Run], Sequence[Findings]] = ((), ())

    def settled(self) -> Report:
        """Return it as a page that does not load itself again.

        Returns
        -------
        Report
            Of the same runs.
        """
        return _compose(*self._made_of, None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, all or nothing, in the place of an older report or of nothing.

        Parameters
        ----------
        path : str or path
            Of the page, ``"report.html"``.

        Raises
        ------
        ArgumentError
            Something else is there, or no folder for it.
        OutputError
            It cannot be written.
        """
        check_output(path)
        write_atomically(path, self.html.encode("utf-8", "backslashreplace"), "output")

    def _repr_html_(self) -> str:
        """Return it as a frame of its own, which nothing outside can change and which changes nothing outside."""
        shown = html.escape(self.html, quote=True)
        return (
            f'<iframe srcdoc="{shown}" sandbox="allow-scripts" title="fastconv report"'
            ' style="width: 100%; height: 48rem; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Report({len(self.html):,} characters of HTML; .save(path) writes them)"


def check_output(path: str | os.PathLike[str]) -> None:
    """Refuse to write over what is no report, and where no file can be."""
    target = home_path_of(path, "output")
    if not os.path.isdir(target.parent):
        raise ArgumentError(
            f"output: got {os.fspath(path)!r}, whose folder is not there; allowed: a file in a folder that is"
        )
    try:
        with open(target, "rb") as file:
            is_report = _MARK.encode() in file.read(_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArgumentError(
            f"output: got {os.fspath(path)!r} ({error.strerror}); allowed: a file, which is made"
        ) from error
    if not is_report:
        raise ArgumentError(
            f"output: got {os.fspath(path)!r}, a file that is no report; allowed: a new file, or an older report"
        )


def make_report(
    *runs: str | os.PathLike[str],
    limit: int | None = None,
    compute: bool = True,
    timed: bool = True,
    reload_seconds: float | None = None,
) -> Report:
    """Return the page of one run, or of several side by side.

    It is made of their folders (docs/runs.md). With the weights after the last whole epoch it looks at the test images
    and times the layers, on the active backend; where the images cannot be read, it says so instead.

    Parameters
    ----------
    *runs : path
        Folders of runs, at most 7.
    limit : int or None
        Look at so many test images of each run: the first, of an own folder each class's share. None: at all of them.
    compute : bool
        False: show what the folders say, and compute nothing.
    timed : bool
        False: do not time the layers.
    reload_seconds : float or None
        The page loads itself again after so long.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        There are no runs, too many, or one twice.
    CheckpointError
        One is no folder of a run, or a file of it is missing, damaged or of another version. Where only the weights are
        missing the page says so, and `Report.notes`.
    DependencyError
        What the extra `report` brings is not installed.

    Examples
    --------
    >>> from fastconv import cli
    >>> cli.main("train --model lenet5 --limit 20 --epochs 1 --output run".split())
    data ...
    0
    >>> report = fc.report.make_report("run", compute=False)
    >>> report.html[:15], report.notes
    ('<!doctype html>', ())
    """
    limit = validate.at_least_one_or_none(limit, "limit")
    compute, timed = validate.truth(compute, "compute"), validate.truth(timed, "timed")
    if reload_seconds is not None:
        validate.number(reload_seconds, "reload_seconds", low=0.0, open_low=True)
    found = read_runs(runs)
    pictures.need_packages()
    findings: list[Findings] = []
    machine: Machine | None = None
    for run in found:
        seen = look_into(run, limit=limit, timed=timed, machine=machine) if compute else Findings()
        machine = machine or (seen.profile.machine if seen.profile else None)
        findings.append(seen)
    return _compose(found, findings, reload_seconds)


def _compose(runs: Sequence[Run], findings: Sequence[Findings], reload_seconds: float | None) -> Report:
    """Return the page with as much detail as fits into it."""
    told = [(run.name, run.missing or seen.unjudged) for run, seen in zip(runs, findings, strict=True)]
    notes = tuple(f"{name}: {note}" for name, note in told if note)
    charts: _Charts = {}
    for detail in _DETAILS:
        text = _render(runs, findings, detail, reload_seconds, charts)
        if len(text.encode("utf-8", "backslashreplace")) <= LIMIT:
            return Report(text, notes, (runs, findings))
    raise ArgumentError(
        f"runs: got a page of {len(text):,} characters; allowed: {LIMIT:,} bytes, which fewer runs would have"
    )


def _render(
    runs: Sequence[Run], findings: Sequence[Findings], detail: _Detail, reload_seconds: float | None, charts: _Charts
) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = _text("page.js")
    shown = [_shown(run, seen, detail) for run, seen in zip(runs, findings, strict=True)]
    text: str = environment.get_template("page.html").render(
        mark=_MARK,
        style=_text("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        reload_seconds=reload_seconds,
        made_by=versions(),
        **_charts(runs, detail, charts),
        signs=pictures.SIGNS,
        settings=_side_by_side([settings(run.recipe.tables) for run in runs]),
        environment=_side_by_side([settings(run.environment) for run in runs]),
        runs=shown,
        figure_names=list(dict.fromkeys(name for each in shown for name in each["figures"])),
    )
    return text.translate(_VISIBLE)


def _text(name: str) -> str:
    """Return a file beside this one, which may lie in a zip file."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _charts(runs: Sequence[Run], detail: _Detail, charts: _Charts) -> dict[str, Any]:
    """Return the charts, and which quantities have none; shares of zeros of single weights stand in a table.

    What `charts` has of an attempt with as many points is not drawn again.
    """
    finite: dict[str, bool] = {}
    for run in runs:
        for key, values in run.history.history.items():
            name = key.removeprefix("val_")
            if name not in _NOT_DRAWN and not name.startswith(_OF_A_WEIGHT):
                finite[name] = finite.get(name, False) or bool(np.isfinite(numbers(values, key)).any())
    histories = {run.name: run.history for run in runs}
    drawn, empty = ([name for name, found in finite.items() if found is wanted] for wanted in (True, False))
    shown, small = drawn[: detail.charts], drawn[detail.charts :]
    points = min(detail.points, max(run.history.epochs for run in runs))
    for i, name in enumerate(shown):
        if (name, points) not in charts:
            charts[name, points] = pictures.chart(histories, name, points, f"chart-{i}")
    return {
        "charts": [charts[name, points] for name in shown],
        "not_drawn": [
            f"{words}: {', '.join(name.replace('_', ' ') for name in names[:_NAMED])}{', ...' * (len(names) > _NAMED)}"
            for words, names in (("without a finite value", empty), ("left out, for the page to stay small", small))
            if names
        ],
    }


def _side_by_side(columns: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a row for each entry of any of the columns; it is marked where these differ."""
    rows = []
    names = dict.fromkeys(name for column in columns for name in column)
    tables = list(dict.fromkeys(map(_table, names)))  # those of one table stay together
    for name in sorted(names, key=lambda name: tables.index(_table(name))):
        values = [column.get(name, "") for column in columns]
        rows.append({"name": name, "values": values, "differs": len(set(values)) > 1})
    return rows


def _table(name: str) -> str:
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def _shown(run: Run, seen: Findings, detail: _Detail) -> dict[str, Any]:
    directory = run.path if not run.path.startswith("-") else f"./{run.path}"
    return {
        "name": run.name,
        "status": run.status,
        "running": run.running,
        "figures": key_figures(run),
        "verdict": verdict(run.history),
        "judged": _judged(seen.judged, detail) if seen.judged else None,
        "unjudged": seen.unjudged,
        "filters": pictures.filters(seen.first, detail.filters) if seen.first else None,
        "filter_shape": seen.first.weight.shape if seen.first else None,
        "filters_shown": min(detail.filters, seen.first.weight.shape[3]) if seen.first else 0,
        "profile": _timed(seen.profile, detail.rows) if seen.profile else None,
        "missing": run.missing,
        "sparsity": _sparsity(run, seen, detail.rows),
        "repeat": _command("train", os.path.join(directory, run.folder.recipe_file.name)),
        "go_on": None if run.running or run.complete else _command("resume", directory),
    }


def _command(*words: str) -> str:
    return " ".join(["fastconv", *map(shell_word, words)])


def _judged(judged: Judged, detail: _Detail) -> dict[str, Any]:
    counts, names = judged.counts, judged.class_names
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    worst = [each for each in judged.worst if each.image.shape[2] in (1, 3)][: detail.images]
    return {
        "name": judged.name,
        "images": int(counts.sum()),
        "accuracy": float(np.trace(counts)) / max(int(counts.sum()), 1),
        "class_names": names,
        "table": [
            (names[row], [(int(counts[row, i]), f"{shares[row, i]:.2f}") for i in range(len(counts))])
            for row in range(len(counts))
        ]
        if len(counts) <= _TABLE
        else None,
        "heat": pictures.heat(shares) if len(counts) > _TABLE else None,
        "most": [(names[row], names[column], int(counts[row, column])) for row, column in most_confused(counts)],
        "worst": [(each, pictures.small(each.image)) for each in worst],
    }


def _sparsity(run: Run, seen: Findings, most: int) -> dict[str, Any] | None:
    """Return the shares of zeros in the weights, or those of the log where the weights were not looked at."""
    if seen.sparsity:
        zeros, size = (sum(getattr(row, part) for row in seen.sparsity) for part in ("zeros", "size"))
        head = f"{zeros:,} of {size:,} weights are zero ({zeros / size:.1%})."
        rows = [(row.name, " x ".join(map(str, row.shape)), row.share) for row in seen.sparsity]
    else:
        found = {name: values[-1] for name, values in run.history.history.items() if values}
        head = f"After the last epoch {found.get('sparsity', math.nan):.1%} of the weights that are pruned are zero."
        rows = [
            (name.removeprefix(_OF_A_WEIGHT), "", share)
            for name, share in found.items()
            if name.startswith(_OF_A_WEIGHT) and math.isfinite(share)
        ]
    return {"head": head, "rows": rows[:most], "of": len(rows)} if rows else None


def _timed(profile: Profile, most: int) -> dict[str, Any]:
    total = profile.forward_ms + profile.backward_ms
    slowest = sorted(profile.rows, key=lambda row: -(row.forward_ms + row.backward_ms))[:most]
    rows = [row for row in profile.rows if row in slowest]
    longest = max((max(row.forward_ms, row.backward_ms) for row in rows), default=0.0) or 1.0
    return {
        "profile": profile,
        "left_out": len(profile.rows) - len(rows),
        "total": total,
        "rows": [
            {
                "row": row,
                "name": _short(row.names) or "(all)",
                "kinds": " + ".join(row.kinds),
                "forward": f"{row.forward_ms / longest:.0%}",
                "backward": f"{row.backward_ms / longest:.0%}",
            }
            for row in rows
        ],
    }


def _short(names: Iterable[str]) -> str:
    return ", ".join(name for name in names if name)
