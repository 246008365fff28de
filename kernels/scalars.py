"""A number that a pointwise function, loss or update rule is called with: its name, its default, what it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scalar:
    """At least `low` (above it if `open_low`) and below `high`; a default of True or False says that it is a switch."""

    name: str
    default: float | bool
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
