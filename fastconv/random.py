"""Seeds and keys: where the random numbers of training come from.

A random number of a training step depends on its place alone: the seed, the step, the number of the draw
within the step, and the element. So a run can be taken up again at any step, and gives the same numbers on every
backend with any number of threads. `Trainer` opens a `stream` around each step; layers that draw take a `next_key`
each. The initial weights are drawn on the host by NumPy's Philox, from the seed and the parameter's name; each model
that is built without a seed of its own gets the next one that follows from the seed.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

import numpy as np

from fastconv._within import held
from fastconv.backends.contract.types import Array, RandomKey
from fastconv.errors import ArgumentError

__all__ = ["get_seed", "next_key", "seed", "stream"]

_Result = TypeVar("_Result")

_OUTSIDE = 2**32 - 1  # the step of draws outside of any stream


class _Stream:
    """The draws of one step. `itertools.count` hands out each number once, whatever thread asks."""

    def __init__(self, seed: int, step: int | Array) -> None:
        self.seed, self.step = seed, step
        self.draws = itertools.count()
        self.builds = itertools.count()


_default = _Stream(0, _OUTSIDE)
_current: ContextVar[_Stream | None] = ContextVar("fastconv_stream", default=None)


def seed(value: int) -> None:
    """Make `value`, 0 to 2**64 - 1, the seed from now on: of models built, Trainers made, and draws outside of them.

    Without this call the seed is 0, so that a program gives the same results whenever it runs. Models are counted from
    this call on: each gets weights of its own, the same ones in every run.

    Parameters
    ----------
    value : int
        From 0 to 2**64 - 1.

    Raises
    ------
    ArgumentError
        `value` is not such an int.

    Examples
    --------
    >>> fc.seed(3)
    >>> first = fc.nn.Dense(2).build((4,))
    >>> fc.seed(3)
    >>> again = fc.nn.Dense(2).build((4,))
    >>> bool((first.weight.data == again.weight.data).all())
    True
    """
    global _default
    _default = _Stream(checked_seed(value), _OUTSIDE)


def get_seed() -> int:
    """Return the seed that `seed` set, or 0.

    Returns
    -------
    int
        From 0 to 2**64 - 1.

    Examples
    --------
    >>> fc.seed(7)
    >>> fc.random.get_seed()
    7
    """
    return _default.seed


def next_build_seed() -> int:
    """Return the seed of the next model that is built without one: that of `seed` for the first, then its own."""
    source = _default
    number = next(source.builds)
    if not number:
        return source.seed
    return derived(source.seed, f"build {number}", size=8)


@contextmanager
def stream(seed: int, step: int | Array) -> Iterator[None]:
    """Draw from the beginning of the stream (`seed`, `step`) within a ``with`` block, on this thread or task only.

    `step` may be a (1,) int64 array of the backend that draws, for what is captured: it is read when numbers are drawn.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    step : int or (1,) int64 array
        Its number.

    Examples
    --------
    >>> with fc.random.stream(seed=7, step=3):
    ...     first = fc.random.next_key()
    >>> with fc.random.stream(seed=7, step=3):
    ...     first == fc.random.next_key()
    True
    """
    yield from held(_current, _opened(seed, step))


def in_stream(seed: int, step: int | Array, function: Callable[[], _Result]) -> _Result:
    """Call `function` within such a stream, which is closed after it whatever interrupts it, wherever."""
    context = copy_context()
    context.run(_current.set, _opened(seed, step))
    return context.run(function)


def _opened(seed: int, step: int | Array) -> _Stream:
    return _Stream(checked_seed(seed), step if hasattr(step, "reshape") else operator.index(step) % 2**32)


def next_key() -> RandomKey:
    """Return the key of the next draw of the stream that is open, or of the process.

    Returns
    -------
    RandomKey
        Another one in each call.

    Examples
    --------
    >>> with fc.random.stream(seed=7, step=3):
    ...     fc.random.next_key(), fc.random.next_key()
    (RandomKey(seed=7, stream=0, step=3), RandomKey(seed=7, stream=1, step=3))
    """
    source = _current.get() or _default
    return RandomKey(source.seed, next(source.draws) % 2**32, source.step)


def host_generator(seed: int, name: str) -> np.random.Generator:
    """Return NumPy's generator for the values called `name` under `seed`."""
    return np.random.Generator(np.random.Philox(key=derived(checked_seed(seed), name, size=16)))


def derived(seed: int, name: str, size: int) -> int:
    """Return a number of `size` bytes that differs between seeds and between names."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:size], "little")


def checked_seed(value: int) -> int:
    """Return `value` if it is an int from 0 to 2**64 - 1; ArgumentError otherwise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ArgumentError(f"seed: got {value!r}; allowed: an int from 0 to 2**64 - 1")
    return number
