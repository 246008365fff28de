"""``fastconv launch``: a script, or a command of fastconv, on several processes."""

from __future__ import annotations

import argparse

from fastconv.cli.parser import build_parser
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
        build_parser().parse_args(program)  # what is wrong with them is said once, before the job begins
        words = ["-m", "fastconv", first, *rest]
        if first == "train" and options.max_restarts:
            restart = ["-m", "fastconv", "resume", _output(rest)]
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


def _output(words: list[str]) -> str:
    """Return the folder that a training is told to write into."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--output")
    found: str | None = reader.parse_known_args(words)[0].output
    if found is None:
        raise ArgumentError(
            "--max-restarts: got a training without --output; allowed: one whose folder is named, to go on from there"
        )
    return found
