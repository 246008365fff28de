"""Which algorithm convolutions take on the CPU: chosen from shapes, measured, or named.

``"shapes"``, the default, decides from shapes, precision and the host's instructions, so that equal shapes give equal
bits in every process. ``"tuned"`` measures each new shape once, forward and backward, and keeps the faster algorithm on
disk, in a file for this CPU. ``"winograd"`` and ``"direct"`` take that algorithm wherever it can compute the
convolution. `fastconv.explain` shows what each layer gets. Algorithms round differently; strict precision is always
direct.

The active one is that of the innermost `algorithm` block of this thread or task, else that of `set_algorithm`, else
the environment variable FASTCONV_ALGORITHM, else "shapes". Convolutions hand it to the backend with the precision.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import cast, get_args

from fastconv._within import held, within
from fastconv.backends import get_backend
from fastconv.backends.contract.types import AlgorithmChoice
from fastconv.errors import ArgumentError, UnsupportedError

_VARIABLE = "FASTCONV_ALGORITHM"
_default: AlgorithmChoice | None = None
_override: ContextVar[AlgorithmChoice | None] = ContextVar("fastconv_algorithm", default=None)


def get_algorithm() -> AlgorithmChoice:
    """Return the active one; "shapes" where the active backend has one algorithm for everything.

    Returns
    -------
    str
        "shapes", "tuned", "winograd" or "direct".

    Raises
    ------
    ArgumentError
        FASTCONV_ALGORITHM is none of them.

    Examples
    --------
    >>> fc.get_algorithm()
    'shapes'
    """
    if get_backend().algorithms == ("shapes",):
        return "shapes"
    return _override.get() or _default or _from_environment()


def set_algorithm(algorithm: AlgorithmChoice) -> None:
    """Make `algorithm` the active one of the process.

    Parameters
    ----------
    algorithm : "shapes", "tuned", "winograd" or "direct"
        What convolutions take on the CPU from now on.

    Raises
    ------
    ArgumentError
        `algorithm` is none of "shapes", "tuned", "winograd", "direct".
    UnsupportedError
        The active backend does not have it.

    Examples
    --------
    >>> fc.set_algorithm("shapes")
    >>> fc.set_algorithm("quick")
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: algorithm: got 'quick'; allowed: shapes, tuned, winograd, direct
    """
    global _default
    _default = _checked(algorithm)


@within("fc.algorithm({})", ", or fc.set_algorithm({}) for the whole process")
def algorithm(algorithm: AlgorithmChoice) -> Iterator[None]:
    """Make `algorithm` the active one within a ``with`` block, for this thread or task; raises as `set_algorithm`.

    Parameters
    ----------
    algorithm : "shapes", "tuned", "winograd" or "direct"
        What convolutions take on the CPU within the block.

    Examples
    --------
    >>> with fc.algorithm("shapes"):
    ...     fc.get_algorithm()
    'shapes'
    """
    yield from held(_override, _checked(algorithm))


def _from_environment() -> AlgorithmChoice:
    """Return what is active where nobody chose, and remember it."""
    global _default
    value = os.environ.get(_VARIABLE) or "shapes"
    if value not in get_args(AlgorithmChoice):
        raise ArgumentError(f"{_VARIABLE}: got {value!r}; allowed: {', '.join(get_args(AlgorithmChoice))}")
    _default = cast(AlgorithmChoice, value)
    return _default


def _checked(value: AlgorithmChoice) -> AlgorithmChoice:
    if value not in get_args(AlgorithmChoice):
        raise ArgumentError(f"algorithm: got {value!r}; allowed: {', '.join(get_args(AlgorithmChoice))}")
    backend = get_backend()
    if value not in backend.algorithms:
        raise UnsupportedError(
            f"algorithm: got {value!r} with the backend {backend.name!r}; allowed: {', '.join(backend.algorithms)}"
        )
    return value
