"""When a rank computed, and when it talked: a step pays for what of the latter lies outside of the former."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastconv._attributes import Made
from fastconv._files import write_atomically


class Timeline(metaclass=Made):
    """Spans of time, by thread. ``DataParallel(timeline=Timeline())`` fills it.

    Attributes
    ----------
    spans : list of (name, thread, begin, end)
        Seconds of the system's clock, which processes of one machine share.

    Examples
    --------
    >>> timeline = fc.parallel.Timeline()
    >>> with timeline.span("reduce"):
    ...     pass
    >>> [name for name, *_ in timeline.spans], timeline.seconds("reduce") < 1
    (['reduce'], True)
    >>> timeline.save("rank0.json")
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, float, float]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Note how long what is done within takes.

        Parameters
        ----------
        name : str
            Of the span.

        Yields
        ------
        None
            Until the ``with`` ends.
        """
        begin = time.monotonic()
        try:
            yield
        finally:
            self.spans.append((name, threading.current_thread().name, begin, time.monotonic()))

    def seconds(self, name: str) -> float:
        """Return how long all spans of a name are together.

        Parameters
        ----------
        name : str
            Of the spans.

        Returns
        -------
        float
            Seconds; 0 if there are none.
        """
        return sum(end - begin for each, _, begin, end in self.spans if each == name)

    def save(self, path: str | os.PathLike[str], rank: int = 0) -> None:
        """Write the spans in Chrome's trace format (https://ui.perfetto.dev): a process for the rank, a row a thread.

        Files of several ranks may be joined by their lists of events.

        Parameters
        ----------
        path : str or path
            The file, new or to be replaced.
        rank : int
            Under which they are shown.
        """
        rows = {thread: number for number, thread in enumerate(dict.fromkeys(thread for _, thread, _, _ in self.spans))}
        events: list[dict[str, object]] = [
            {"name": "process_name", "ph": "M", "pid": rank, "args": {"name": f"rank {rank}"}},
            *(
                {"name": "thread_name", "ph": "M", "pid": rank, "tid": row, "args": {"name": thread}}
                for thread, row in rows.items()
            ),
        ]
        for name, thread, begin, end in self.spans:
            span = {"ts": begin * 1e6, "dur": (end - begin) * 1e6}
            events.append({"name": name, "ph": "X", "pid": rank, "tid": rows[thread], **span})
        write_atomically(path, json.dumps({"traceEvents": events}).encode())
