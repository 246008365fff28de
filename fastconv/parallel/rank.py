"""``python -m fastconv.parallel.rank``: a program as one rank of a job, which ends as a whole.

    mpiexec -n 2 python -m fastconv.parallel.rank SCRIPT [ARGUMENT...]
    mpiexec -n 2 python -m fastconv.parallel.rank -m MODULE [ARGUMENT...]

An exception, an exit status that is not 0 and an interrupt end the job, wherever they come from, before MPI is used
too. A rank dies with the process that started it. Where all ranks leave together with the status 75, told to stop, no
rank has to be ended: so that whoever started them sees that status, and not that of processes that were killed.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fastconv.errors import ArgumentError, FastconvError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.connecting import connect
from fastconv.parallel.launching import die_with_parent
from fastconv.parallel.starting import speaks_for_host
from fastconv.parallel.uncaught import end_job

_TOGETHER = 3.0  # seconds in which all ranks leave that were told to


def _check(words: Sequence[str]) -> None:
    if words[:1] == ["-m"] and len(words) > 1:
        return
    if not words or words[0].startswith("-"):
        raise ArgumentError(f"words: got {' '.join(words)!r}; allowed: a script, or -m and a module, and arguments")
    if not os.path.isfile(words[0]):
        raise ArgumentError(f"script: got {words[0]!r}, which is no file; allowed: a script, or -m and a module")


def _run(words: Sequence[str]) -> None:
    """Run a script or a module as ``python`` does, as the main program."""
    if words[0] == "-m":
        sys.argv = list(words[1:])
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def _all_leave(communicator: Communicator) -> bool:
    """Tell whether the other ranks are about to leave too."""
    waiting = threading.Thread(target=communicator.barrier, daemon=True)
    waiting.start()
    waiting.join(_TOGETHER)
    return not waiting.is_alive()


def main(words: Sequence[str]) -> int:
    """Run the program; end the job if it fails here."""
    die_with_parent()()
    try:
        _check(words)
        communicator = connect()
    except FastconvError as error:
        if speaks_for_host():  # nobody can ask the other hosts, where it may be otherwise
            print(f"error: {error}", file=sys.stderr)
        return 2
    status = 0
    try:
        _run(words)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except KeyboardInterrupt:
        status = 130
    if status and communicator.size > 1 and not (status == os.EX_TEMPFAIL and _all_leave(communicator)):
        end_job(communicator, status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
