"""Where the parts of a batch that go through a model apart from each other meet, for a layer that wants all of it.

Who trains by parts (`fastconv.training.sharded`) opens a meeting around each part's pass. Outside of one a batch is
whole, and there is nobody to meet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

import numpy as np

Joining = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Meeting(Protocol):
    """All parts of a batch, wherever they are computed."""

    def join(self, mine: np.ndarray, joining: Joining) -> np.ndarray:
        """Return what the arrays of all parts come to, joined two at a time, neighbours first: the same for all parts.

        It waits until all of them are here.
        """
        ...


meeting: ContextVar[Meeting | None] = ContextVar("fastconv_meeting", default=None)
"""That of the pass that runs, in this thread."""
