"""Checks of gradients and kernels, for our own tests and for layers and kernels of one's own.

`gradcheck` compares gradients with central differences in float64, `adjoint_check` the three passes of a convolution
with each other in float32, `compare` an operation of one backend with the reference. Each returns a report, and
raises `CheckError` with it if the check fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _validate as validate
from fastconv import functional
from fastconv._attributes import tells_names
from fastconv._calls import tells_habits
from fastconv._gradcheck import CheckError, Element, Report, gradcheck
from fastconv._html import Printed
from fastconv._shapes import PaddingLike, PairLike
from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.types import Array
from fastconv.nn.core.outputs import parts_of
from fastconv.precision import get_precision, precision
from fastconv.random import checked_seed

__all__ = ["AdjointReport", "CheckError", "Comparison", "Element", "Report", "adjoint_check", "compare", "gradcheck"]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)


@dataclass(frozen=True)
class AdjointReport(Printed):
    """What `adjoint_check` found: three numbers that are equal in exact arithmetic.

    Parameters
    ----------
    ok : bool
        Whether they are equal, as far as rounding allows.
    forward, backward_input, backward_weight : float
        ``<op(x, w), g>``, ``<x, backward_input(g, w)>``, ``<w, backward_weight(g, x)>``.
    error : float
        Largest difference, relative to ``|y| * |g|``.
    tolerance : float
        What `error` may be.

    Examples
    --------
    >>> fc.testing.adjoint_check((1, 5, 5, 2), (3, 3, 2, 4), exact=True)
    AdjointReport(ok=True, forward=66.0, backward_input=66.0, backward_weight=66.0, error=0.0, tolerance=0.0)
    """

    ok: bool
    forward: float
    backward_input: float
    backward_weight: float
    error: float
    tolerance: float

    def __str__(self) -> str:
        return (
            f"adjoint check {'passed' if self.ok else 'FAILED'}: <y, g> {self.forward:.9g}, <x, backward_input>"
            f" {self.backward_input:.9g}, <w, backward_weight> {self.backward_weight:.9g},"
            f" relative error {self.error:.2g}, tolerance {self.tolerance:g}"
        )


@tells_habits({})
def adjoint_check(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    *,
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    dtype: Any = np.float32,
    exact: bool = False,
    tolerance: float | None = None,
    seed: int = 0,
    raise_on_failure: bool = True,
) -> AdjointReport:
    """Check that the three passes of a convolution, or of a dense layer, belong together, on the active backend.

    An operation that is linear in x and in w has ``<op(x, w), g> = <x, backward_input(g, w)> = <w, backward_weight(g,
    x)>``.

    Parameters
    ----------
    x_shape : (N, H, W, C), or (N, C) for dense
        Of the input.
    weight_shape : (R, S, C // groups, K), or (C, K) for dense
        Of the weight.
    stride, padding, dilation, groups :
        As of `fastconv.functional.conv2d`.
    dtype : dtype
        float32 or float64.
    exact : bool
        Use small integers and strict precision, and ask for equality: no sum is rounded.
    tolerance : float or None
        1e-5 for float32 and 1e-13 for float64 if None.
    seed : int
        Of the random arrays.
    raise_on_failure : bool
        Whether a failure is an exception.

    Returns
    -------
    AdjointReport
        The three numbers.

    Raises
    ------
    CheckError
        They differ and `raise_on_failure` is set.

    Examples
    --------
    >>> fc.testing.adjoint_check((1, 5, 5, 2), (3, 3, 2, 4), stride=2, padding=1, exact=True).error
    0.0
    """
    generator, kind = np.random.default_rng(checked_seed(seed)), validate.floating_dtype(dtype)
    x_shape = validate.sizes(x_shape, "x_shape", "(N, H, W, C) or (N, C)")
    weight_shape = validate.sizes(weight_shape, "weight_shape", "(R, S, C // groups, K) or (C, K)")
    tolerance = _checked_tolerance(tolerance)
    for name, value in (("exact", exact), ("raise_on_failure", raise_on_failure)):
        validate.truth(value, name)
    backend = get_backend()

    def draw(shape: Sequence[int]) -> np.ndarray:
        values = generator.integers(-3, 4, tuple(shape)) if exact else generator.standard_normal(tuple(shape))
        return values.astype(kind)

    def run(function: Callable[..., Array], *arrays: np.ndarray) -> np.ndarray:
        return backend.to_numpy(function(*map(backend.asarray, arrays)))

    x, w = draw(x_shape), draw(weight_shape)
    forward, backward_input, backward_weight = _passes(x, w, stride, padding, dilation, groups)
    with precision("strict" if exact else get_precision()):
        y = run(forward, x, w)
        # Not at right angles to y, as two random vectors nearly are: a small error would not show.
        g = draw(y.shape) if exact else draw(y.shape) + y / (np.std(y) or kind.type(1))
        products = _inner(y, g), _inner(x, run(backward_input, g, w)), _inner(w, run(backward_weight, g, x))
    scale = float(np.linalg.norm(y.astype(np.float64)) * np.linalg.norm(g.astype(np.float64))) or 1.0
    error = (max(products) - min(products)) / scale
    if tolerance is None:
        tolerance = 0.0 if exact else 1e-5 if kind == np.float32 else 1e-13
    report = AdjointReport(error <= tolerance, *products, error, tolerance)
    if raise_on_failure and not report.ok:
        raise CheckError(str(report))
    return report


def _checked_tolerance(tolerance: float | None) -> float | None:
    return None if tolerance is None else validate.number(tolerance, "tolerance", low=0)


def _passes(x: np.ndarray, w: np.ndarray, *geometry: Any) -> tuple[Callable[..., Array], ...]:
    """Return the three passes of a dense layer or a convolution as functions of two arrays."""
    if x.ndim == 2:
        return functional.dense, functional.dense_backward_input, functional.dense_backward_weight
    named = dict(zip(("stride", "padding", "dilation", "groups"), geometry, strict=True))
    return (
        partial(functional.conv2d, **named),
        partial(functional.conv2d_backward_input, input_shape=x.shape, **named),
        partial(functional.conv2d_backward_weight, weight_shape=w.shape, **named),
    )


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a.astype(np.float64), b.astype(np.float64)))


@dataclass(frozen=True)
class Comparison(Printed):
    """What `compare` found.

    Parameters
    ----------
    ok : bool
        Whether all errors are within the tolerance.
    errors : tuple of float
        One for each result: the largest difference relative to the largest element; infinite where shape, kind or the
        places of what is not finite differ.
    tolerance : float
        What each may be.

    Examples
    --------
    >>> x = np.ones((1, 4, 4, 2))
    >>> fc.testing.compare("max_pool2d", x, 2).errors
    (0.0, 0.0)
    """

    ok: bool
    errors: tuple[float, ...]
    tolerance: float

    def __str__(self) -> str:
        errors = ", ".join(f"{error:.2g}" for error in self.errors)
        return f"comparison {'passed' if self.ok else 'FAILED'}: relative errors {errors}, tolerance {self.tolerance:g}"


def compare(
    operation: str,
    *arguments: Any,
    backend: str | None = None,
    tolerance: float | None = None,
    raise_on_failure: bool = True,
    **keywords: Any,
) -> Comparison:
    """Compare a function of `fastconv.functional` on one backend with the NumPy reference computed in float64.

    Parameters
    ----------
    operation : str
        Its name: ``compare("conv2d", x, weight, padding=1)``.
    *arguments, **keywords :
        Of the function; arrays are NumPy's, by position or by name.
    backend : str or None
        The active one if None.
    tolerance : float or None
        1e-4 for float32, 1e-12 for float64 if None.
    raise_on_failure : bool
        Whether a failure is an exception.

    Returns
    -------
    Comparison
        The errors.

    Raises
    ------
    CheckError
        They differ and `raise_on_failure` is set.

    Examples
    --------
    >>> x, weight = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 4))
    >>> fc.testing.compare("conv2d", x, weight, padding=1).ok
    True
    """
    tolerance = _checked_tolerance(tolerance)
    validate.truth(raise_on_failure, "raise_on_failure")
    validate.one_of(operation, "operation", functional.__all__)
    function = getattr(functional, operation)

    def call(change: Callable[[np.ndarray], Any]) -> tuple[Any, ...]:
        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, np.ndarray) else value

        named = {name: changed(value) for name, value in keywords.items()}
        return parts_of(function(*map(changed, arguments), **named))

    with use_backend(backend or get_backend().name) as tested:
        got = [tested.to_numpy(array) for array in call(tested.asarray)]
    with use_backend("numpy"), precision("strict"):
        want = call(lambda array: array.astype(np.float64) if array.dtype.kind == "f" else array)
    if tolerance is None:
        arrays = [a for a in (*arguments, *keywords.values()) if isinstance(a, np.ndarray)]
        tolerance = 1e-4 if any(array.dtype == np.float32 for array in arrays) else 1e-12
    errors = tuple(_difference(g, w) for g, w in zip(got, want, strict=True))
    report = Comparison(max(errors) <= tolerance, errors, tolerance)
    if raise_on_failure and not report.ok:
        raise CheckError(f"{operation} on {tested.name}: {report}")
    return report


def _difference(got: np.ndarray, want: np.ndarray) -> float:
    if got.shape != want.shape or got.dtype.kind != want.dtype.kind:
        return math.inf
    if want.dtype.kind != "f":
        return 0.0 if np.array_equal(got, want) else math.inf
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return math.inf
    if not finite.any():
        return 0.0
    scale = float(np.max(np.abs(want[finite]))) or 1.0
    return float(np.max(np.abs(got[finite] - want[finite]))) / scale
