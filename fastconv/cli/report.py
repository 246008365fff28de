"""``fastconv report``: the page of one run, or of several side by side."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from fastconv._console import one_line
from fastconv.cli.choices import apply_computing_options
from fastconv.cli.streams import say_on_stderr
from fastconv.errors import ArgumentError
from fastconv.report import Report, follow, make_report
from fastconv.report.page import FILE_NAME, check_output
from fastconv.report.pictures import need_packages
from fastconv.report.runs import read_runs


def run(options: argparse.Namespace) -> int:
    """Write the page, and print where it is; with ``--follow`` again and again, until the runs are over."""
    need_packages()
    found = read_runs(options.runs)  # before anything is computed
    output = _output(options)
    check_output(output)
    apply_computing_options(options)
    settings = {"limit": options.limit, "compute": not options.quick, "timed": not options.quick}

    def told(report: Report) -> None:
        for note in report.notes:
            say_on_stderr(f"note: {note}")
        size = len(report.html.encode("utf-8", "backslashreplace"))
        print(one_line(f"report    {output} ({size / 1e3:,.0f} kB)"), flush=True)

    for each in found:
        if each.running and not options.follow:
            say_on_stderr(f"note: {each.name}: {each.status} (--follow writes the page anew until it is over)")
    if options.follow:
        follow(options.runs, output, told=told, **settings)
    else:
        report = make_report(*options.runs, **settings)
        report.save(output)
        told(report)
    return 0


def _output(options: argparse.Namespace) -> Path:
    """Return where the page goes: of one run into its folder, of several here."""
    if options.output is None:
        return Path(options.runs[0] if len(options.runs) == 1 else ".", FILE_NAME)
    output = Path(options.output)
    if os.path.isdir(output):
        raise ArgumentError(f"--output: got {options.output}, a folder; allowed: a file, such as {output / FILE_NAME}")
    return output
