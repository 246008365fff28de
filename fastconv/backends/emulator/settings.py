"""How the emulator runs: the order of threads, the time at which copies land, and whether accesses are checked."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from fastconv._within import holding
from fastconv.errors import ArgumentError

ORDERS = ("forward", "reverse", "skewed")
COPIES = ("lazy", "eager")
VARIABLE = "FASTCONV_EMULATOR"


@dataclass(frozen=True)
class Settings:
    """One way to run kernels; right kernels give the same bits in all of them.

    Attributes
    ----------
    order : "forward", "reverse" or "skewed"
        Which thread goes on when several could. Skewed lets one warp run far ahead, another one after each barrier.
    seed : int
        For "skewed".
    copies : "lazy" or "eager"
        When asynchronous copies land: as late, or as early, as the hardware might do it.
    checks : bool
        Whether every access is checked for races, bounds and alignment; some twenty times slower.
    seconds : int
        A launch that takes longer is taken for a loop that never ends.
    """

    order: str = "forward"
    seed: int = 1
    copies: str = "lazy"
    checks: bool = False
    seconds: int = 120

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ArgumentError(f"{VARIABLE}: got order {self.order!r}; allowed: {', '.join(ORDERS)}, skewed:SEED")
        if self.copies not in COPIES:
            raise ArgumentError(f"{VARIABLE}: got copies {self.copies!r}; allowed: {', '.join(COPIES)}")
        if not 0 <= self.seed < 2**32:
            raise ArgumentError(f"{VARIABLE}: got seed {self.seed}; allowed: an int from 0 to {2**32 - 1}")


def parse(text: str) -> Settings:
    """Return the settings that `text` names, words with commas between: ``"skewed:3,eager,checks"``."""
    chosen: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, seed = word.partition(":")
        found: dict[str, Any]
        if name in ORDERS and (not seed or (name == "skewed" and seed.isdecimal())):
            found = {"order": name} | ({"seed": int(seed)} if seed else {})
        elif word in COPIES:
            found = {"copies": word}
        elif word == "checks":
            found = {"checks": True}
        else:
            allowed = ", ".join([*ORDERS, "skewed:SEED", *COPIES, "checks"])
            raise ArgumentError(f"{VARIABLE}: got {word!r}; allowed, with commas between: {allowed}")
        if twice := sorted(chosen.keys() & found.keys()):
            allowed = f"one of {', '.join(ORDERS)}, one of {', '.join(COPIES)}, and checks once"
            raise ArgumentError(f"{VARIABLE}: got {text!r}, which says {twice[0]} twice; allowed: {allowed}")
        chosen |= found
    return Settings(**chosen)


_override: ContextVar[Settings | None] = ContextVar("fastconv_emulator", default=None)


def current() -> Settings:
    """Return the settings of the innermost `using`, else those of the environment variable FASTCONV_EMULATOR."""
    return _override.get() or parse(os.environ.get(VARIABLE, ""))


def using(settings: Settings) -> AbstractContextManager[None]:
    """Run kernels so within a ``with`` block, in this thread or task."""
    return holding(_override, settings)
