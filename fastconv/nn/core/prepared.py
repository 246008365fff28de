"""Prepared weights, kept as long as they are valid.

What a kernel reads is often not the weight but a transform of it. A layer prepares it once for each direction, shape
of input and precision, and again when the parameter's version has moved. The whole state is one tuple that is
replaced at once, so threads that run forward on one layer at worst prepare twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from fastconv.backends.contract.types import PreparedWeight
from fastconv.nn.core.parameter import Parameter

_LIMIT = 8  # two directions, and the full and the last batch of training and of evaluation


class PreparedWeights:
    """The prepared forms of one weight."""

    def __init__(self, weight: Parameter) -> None:
        self._weight = weight
        self._state: tuple[int, dict[Hashable, PreparedWeight]] = (-1, {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without what can be prepared again."""
        return PreparedWeights, (self._weight,)

    def get(self, key: Hashable, prepare: Callable[[], PreparedWeight]) -> PreparedWeight:
        """Return the form called `key` of the present values."""
        version, entries = self._state
        current = self._weight.version
        if version != current:
            entries = {}
            self._state = (current, entries)  # before preparing: the old blocks go back to the pool and are taken again
        elif key in entries:
            return entries[key]
        prepared = prepare()
        kept = list(entries.items())[-(_LIMIT - 1) :]
        self._state = (current, {**dict(kept), key: prepared})
        return prepared
