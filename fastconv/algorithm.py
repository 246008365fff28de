"""Which algorithm convolutions take on the CPU: chosen from shapes, measured, or named.

``"shapes"``, the default, decides from shapes, precision and the host's instructions, so that equal shapes give equal
bits in every process. ``"tuned"`` measures each new shape once, forward and backward, and keeps the faster algorithm on
disk, in a file for this CPU. ``"winograd"`` and ``"direct"`` take that algorithm wherever it can compute the
convolution. `fastconv.explain` shows what each layer gets. Algorithms round differently; strict precision is always
direct.

The active one is that of the innermost `algorithm` block of this thread or task, else that of `set_algorithm`, else
the environment variable FASTCONV_ALGORITHM, else "shapes". It is read by the backend ``numba``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, get_args

from fastconv.backends import get_backend
from fastconv.backends.contract.types import Algorithm
from fastconv.errors import ArgumentError, UnsupportedError


def get_algorithm() -> Algorithm:
    """Return the active one.

    Raises
    ------
    ArgumentError
        FASTCONV_ALGORITHM is none of them.
    """
    setting = _setting()
    if setting is None:
        return "shapes"
    found: Algorithm = setting.get_algorithm()
    return found


def set_algorithm(algorithm: Algorithm) -> None:
    """Make `algorithm` the active one of the process.

    Raises
    ------
    ArgumentError
        `algorithm` is none of "shapes", "tuned", "winograd", "direct".
    UnsupportedError
        The active backend does not have it.
    """
    setting = _checked(algorithm)
    if setting is not None:
        setting.set_algorithm(algorithm)


@contextmanager
def algorithm(algorithm: Algorithm) -> Iterator[None]:
    """Make `algorithm` the active one within a ``with`` block, for this thread or task; raises as `set_algorithm`."""
    setting = _checked(algorithm)
    with nullcontext() if setting is None else setting.override(algorithm):
        yield


def _setting() -> Any:
    """Return the module that keeps the setting; None if the active backend has one algorithm for everything."""
    if get_backend().algorithms == ("shapes",):
        return None
    from fastconv.kernels.cpu.conv import autotune

    return autotune


def _checked(value: Algorithm) -> Any:
    if value not in get_args(Algorithm):
        raise ArgumentError(f"algorithm: got {value!r}; allowed: {', '.join(get_args(Algorithm))}")
    backend = get_backend()
    if value not in backend.algorithms:
        raise UnsupportedError(
            f"algorithm: got {value!r} with the backend {backend.name!r}; allowed: {', '.join(backend.algorithms)}"
        )
    return _setting()
