"""``fastconv launch``: a script, or a command of fastconv, on several processes."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastconv.cli.parser import build_parser
from fastconv.cli.running import as_argument
from fastconv.errors import ArgumentError
from fastconv.parallel import launch

COMMANDS = ("train", "resume")
"""Those that several ranks do together."""


def run(options: argparse.Namespace) -> int:
    """Run it; the exit status is that of the job."""
    program = options.program[options.program[:1] == ["--"] :]
    if not program:
        raise ArgumentError(f"launch: got no program; allowed: {', '.join(COMMANDS)}, a script, or -- -m and a module")
    first, *rest = program
    restart = None
    if first in COMMANDS:
        train = build_parser().parse_args(program)  # what is wrong with them is said once, before the job begins
        words = ["-m", "fastconv", first, *rest]
        if first == "train" and options.max_restarts:
            restart = ["-m", "fastconv", "resume", as_argument(_output(train))]
    else:
        words = [first, *rest]
    return launch(
        words,
        options.n,
        threads=options.threads,
        max_restarts=options.max_restarts,
        restart=restart,
        timeout=options.timeout,
        mpiexec=options.mpiexec,
    )


def _output(options: argparse.Namespace) -> Path:
    """Return the folder that a training is told to write into."""
    if options.output is None:
        raise ArgumentError(
            "--max-restarts: got a training without --output; allowed: one whose folder is named, to go on from there"
        )
    return Path(options.output)
