"""An exception that nobody catches ends the whole job.

A rank that dies of one leaves the others waiting for it in their next call, forever. So it is printed, and all
processes are ended. Where all ranks fail together, with a wrong argument say, it is printed once: the others give rank
0 a moment to speak first.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from fastconv.parallel.communicator import Communicator

_MOMENT = 1.5  # seconds
_CARRIED = 0.3  # seconds; what was printed is lost if the job ends before the launcher has it (MPICH over two hosts)


def end_job_on_uncaught(communicator: Communicator) -> None:
    """Make every exception that nobody catches, on any thread of this process, end the job."""

    def end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if communicator.rank:
            time.sleep(_MOMENT)
        print(f"rank {communicator.rank} of {communicator.size} ends the job:", file=sys.stderr)
        sys.__excepthook__(kind, kind() if error is None else error, trace)
        end_job(communicator, 1)

    sys.excepthook = end
    threading.excepthook = lambda found: end(found.exc_type, found.exc_value, found.exc_traceback)


def end_job(communicator: Communicator, code: int) -> None:
    """End all ranks once what this one has printed is out."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_CARRIED)
    communicator.abort(code)
