"""The command `fastconv`."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

from fastconv.cli.parser import build_parser
from fastconv.cli.streams import one_rank_shows, say_on_stderr, usable_streams
from fastconv.errors import FastconvError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, those of the process by default, and return its exit code.

    0: done; 1: a check failed; 2: bad arguments, bad input, or something the system refused (a full disk, a folder that
    cannot be written, a closed stdout), with one line on stderr that says what is allowed; 75: a training was told to
    stop by SIGUSR1, and left a state to go on from; 130: interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    with usable_streams(), one_rank_shows(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return _run(words)
        except FastconvError as error:
            return _fail(str(error))
        except KeyboardInterrupt as interrupt:
            for advice in interrupt.args:
                say_on_stderr(str(advice))
            say_on_stderr("interrupted")
            return 130
        except ImportError as error:
            return _fail(f"import: got {error}; allowed: an installation with all that fastconv needs")
        except MemoryError as error:
            return _fail(f"memory: got {str(error) or 'none left'}; allowed: what this machine has")
        except OSError as error:
            return _fail(_describe(error))


def _run(words: list[str]) -> int:
    """Run the command and bring its output out; only then it is done."""
    sys.stdout.flush()  # closed or full: better now than after the training
    try:
        options = build_parser().parse_args(words)
        options.words = words
        code: int = options.run(options)
    except SystemExit:  # argparse: help, version, bad words
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename is None:
        try:
            os.getcwd()
        except OSError as lost:
            return f"current folder: got {lost.strerror}; allowed: one that is there (cd to another)"
    return f"{error.filename or 'system'}: got {reason}"


def _fail(message: str) -> int:
    say_on_stderr(f"error: {message}")
    return 2


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    first, *rest = str(message).splitlines() or [""]
    if any(line.startswith("Traceback ") for line in rest):  # Numba's, of a variable that it cannot read
        rest = rest[-1:]
    say_on_stderr(f"warning: {' '.join([first, *rest])}")
