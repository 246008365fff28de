"""How exact the convolutions and dense layers are: "strict", "default" or "fast".

``"strict"`` computes directly in the arrays' own type. ``"default"`` may take faster algorithms with a documented error
bound for float32: Winograd on the CPU, TF32 on the GPU. ``"fast"`` multiplies bfloat16 numbers and adds in float32,
where the backend can: on a GPU, and on a CPU with AVX512_BF16 or AMX. Each factor is rounded once, to 8 significant
bits; a CPU without AMX may take Winograd instead, whose factors are rounded to 16 bits in fixed point, with about the
same error in the result (kernels/NUMERICS.md). In training the CPU also stores in bfloat16 the results of convolutions
that a normalisation follows, their gradients, and activations between fused layers; arrays that are passed in or given
back, master weights and their gradients stay float32. A value that is not finite may spread to its neighbours. float64
is always direct.

The active precision is that of the innermost `precision` block of this thread or task, else that of `set_precision`,
else "default".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import get_args

from fastconv._within import held, within
from fastconv.backends import get_backend
from fastconv.backends.contract.types import PrecisionChoice
from fastconv.errors import ArgumentError, UnsupportedError

_default: PrecisionChoice = "default"
_override: ContextVar[PrecisionChoice | None] = ContextVar("fastconv_precision", default=None)


def get_precision() -> PrecisionChoice:
    """Return the active precision.

    Returns
    -------
    str
        "strict", "default" or "fast".

    Raises
    ------
    UnsupportedError
        The active backend does not have it (it was chosen while another backend was active).

    Examples
    --------
    >>> fc.get_precision()
    'default'
    """
    return _supported(_override.get() or _default)


def set_precision(precision: PrecisionChoice) -> None:
    """Make `precision` the active one of the process.

    Parameters
    ----------
    precision : "strict", "default" or "fast"
        How exact convolutions and dense layers are from now on.

    Raises
    ------
    ArgumentError
        `precision` is none of "strict", "default", "fast".
    UnsupportedError
        The active backend does not have it.

    Examples
    --------
    >>> fc.set_precision("strict")
    >>> fc.get_precision()
    'strict'
    >>> fc.set_precision("default")
    """
    global _default
    _default = _checked(precision)


@within("fc.precision({})", ", or fc.set_precision({}) for the whole process")
def precision(precision: PrecisionChoice) -> Iterator[None]:
    """Make `precision` the active one within a ``with`` block, for this thread or task; raises as `set_precision`.

    Parameters
    ----------
    precision : "strict", "default" or "fast"
        How exact convolutions and dense layers are within the block.

    Examples
    --------
    >>> with fc.precision("strict"):
    ...     fc.get_precision()
    'strict'
    """
    yield from held(_override, _checked(precision))


def _checked(value: PrecisionChoice) -> PrecisionChoice:
    if value not in get_args(PrecisionChoice):
        raise ArgumentError(f"precision: got {value!r}; allowed: {', '.join(get_args(PrecisionChoice))}")
    return _supported(value)


def _supported(value: PrecisionChoice) -> PrecisionChoice:
    # Every backend has "strict" and "default"; asking for them must not load one.
    if value == "fast":
        backend = get_backend()
        if value not in backend.precisions:
            needs = f"; it needs {backend.fast_needs}" if backend.fast_needs else ""
            raise UnsupportedError(
                f"precision: got {value!r} with the backend {backend.name!r}; allowed:"
                f" {', '.join(backend.precisions)}{needs}"
            )
    return value
