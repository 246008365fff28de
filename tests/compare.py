"""Comparison of an array with exact values: type, shape, then an error bound that follows from the arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_close(
    actual: Any,
    expected: Any,
    *,
    dtype: Any,
    terms: int = 1,
    magnitude: Any = None,
    products: float = 0,
    what: str = "result",
) -> None:
    """Assert that `actual`, computed in `dtype`, is `expected` up to rounding.

    The bound for each element is ``eps * (8 + 2 * sqrt(terms)) * magnitude``: a sum of so many terms has a random walk
    of rounding errors, each at most eps / 2 of what was added. Subnormal results may be flushed to zero. Values that
    are not finite must be the same ones.

    Parameters
    ----------
    actual : array of the type `dtype` and the shape of `expected`
    expected : float64 values
    terms : int
        Length of the sums.
    magnitude : array or None
        The same formula with every number replaced by its absolute value, so that cancellation is allowed for; by
        default ``abs(expected)``. 0 asks for equality.
    products : float
        Share of itself by which each product may be off; added to the bound.
    """
    expected = np.asarray(expected)
    assert isinstance(actual, np.ndarray), f"{what}: {type(actual)} is no array"
    assert actual.dtype == np.dtype(dtype), f"{what}: {actual.dtype}, not {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    if actual.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    size = np.broadcast_to(np.abs(expected) if magnitude is None else magnitude, expected.shape)
    limits = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        bound = (float(limits.eps) * (8 + 2 * np.sqrt(terms)) + products) * size + np.where(
            size > 0, float(limits.tiny) * terms, 0
        )
        error = np.abs(actual.astype(np.float64) - expected)
        same = (np.isnan(actual) & np.isnan(expected)) | (actual == expected)
        good = same | (np.isfinite(expected) & np.isfinite(actual) & (error <= bound))
        ratio = np.where(good, 0, np.nan_to_num(error / bound, nan=np.inf))
    if not good.all():
        worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        raise AssertionError(
            f"{what}: {np.count_nonzero(~good)} of {good.size} elements are wrong; the worst,"
            f" at {tuple(map(int, worst))}, is {actual[worst]!r} and not {expected[worst]!r},"
            f" {ratio[worst]:.3g} times the bound {bound[worst]:.3g}"
        )
