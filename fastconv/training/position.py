"""How far an epoch is: what a training that is taken up in the middle of one goes on from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.training.totals import Totals


class Position:
    """Which batches of an epoch are done, and what was summed over them.

    Attributes
    ----------
    totals : Totals
        Of the epoch.
    batches, done : int
        How many it has, and how many of them are done.
    """

    def __init__(self, totals: Totals, batches: int) -> None:
        self.totals, self.batches, self.done = totals, batches, 0
        self._begin, self._before = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """How long the epoch has taken, without what lay between if it was taken up again."""
        return self._before + time.perf_counter() - self._begin

    def state_dict(self) -> dict[str, Any]:
        """Return it as numbers and NumPy arrays; waits for the device."""
        return {"batches": self.batches, "done": self.done, "seconds": self.seconds, "totals": self.totals.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave.

        Raises
        ------
        ArgumentError
            It is of an epoch with another number of batches.
        CheckpointError
            It is of other metrics.
        """
        if state["batches"] != self.batches:
            raise ArgumentError(
                f"train: got {self.batches} batches; allowed: {state['batches']}, as in the epoch that was left in its"
                f" middle (after {state['done']} of them), or a state that was written between two epochs"
            )
        self.totals.load_state_dict(state["totals"])
        self.done, self._before = state["done"], state["seconds"]
