"""An interrupt while the command is being imported ends it in one line, as later ones do.

That takes half a second, most of it NumPy's; so this is imported first. Nothing happens in other programs.
"""

from __future__ import annotations

import itertools
import os
import sys
from types import TracebackType


def is_command() -> bool:
    """Tell whether this process is the command `fastconv`, or ``python -m fastconv``."""
    words = sys.orig_argv
    as_module = ("-m", "fastconv") in itertools.pairwise(words)
    return as_module or os.path.basename((sys.argv or [""])[0]) == "fastconv"


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    if sys.stderr is not None:
        print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)  # nothing is open yet; Python's own end would be a signal


if is_command():
    sys.excepthook = _tell
