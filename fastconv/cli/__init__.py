"""The command `fastconv`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from fastconv.cli.parser import build_parser
from fastconv.errors import FastconvError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments`, those of the process by default, and return its exit code.

    0: done; 1: a check failed; 2: bad arguments or bad input, with one line on stderr that says what is allowed;
    130: interrupted.
    """
    options = build_parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            code: int = options.run(options)
        except FastconvError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader, `head` for example, has seen enough
            sys.stderr.close()
            return 0
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
