"""Reference of normalisation; statistics and their sums in float64, pairwise."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.composing import Composing
from fastconv.backends.contract.types import Array, Workspace


def sum_of_rows(a: np.ndarray) -> np.ndarray:
    """Sum over all axes but the last in float64, pairwise: as NumPy adds along the last axis of an array alone."""
    return np.asarray(np.ascontiguousarray(a.reshape(-1, a.shape[-1]).T, dtype=np.float64).sum(axis=1))


def _distances(x: np.ndarray, mean: np.ndarray, *, found: bool = False) -> np.ndarray:
    """Return ``x - mean`` in float64; if `found`, from a mean whose rounding is found in x where it has no second row.

    A mean further away than its rounding is taken as it is given.
    """
    rounded = mean.reshape(-1, x.shape[-1]).astype(np.float64)
    away = x.astype(np.float64) - rounded[0]
    if mean.ndim > 1:
        return np.asarray(away - rounded[1])
    if not found:
        return np.asarray(away)
    rest = sum_of_rows(away) / (x.size // x.shape[-1])
    return np.asarray(away - np.where(np.abs(rest) <= np.finfo(mean.dtype).eps * np.abs(rounded[0]), rest, 0))


def _rstd(var: np.ndarray, eps: float) -> np.ndarray:
    """``1 / sqrt(var + eps)`` in float64; of a variance out of range from the standard deviation in its second row."""
    if var.ndim == 1:
        return np.asarray(1 / np.sqrt(var.astype(np.float64) + eps))
    variance, deviation = var.astype(np.float64)
    return np.asarray(np.where(np.isinf(variance), 1 / deviation, 1 / np.sqrt(variance + eps)))


class NumpyNorm(Backend):
    """Normalisation over batches, over groups of channels, and across channels."""

    @np.errstate(all="ignore")
    def batch_norm(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        *,
        eps: float,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        origin = x.reshape(-1, x.shape[-1])[0].astype(np.float64)
        count = x.size // x.shape[-1]
        away = x.astype(np.float64) - origin  # the mean of these has digits to spare, however far away they all are
        distance = sum_of_rows(away) / count
        away -= distance
        away -= sum_of_rows(away) / count
        exact_var = sum_of_rows(away * away) / count
        means, variances = mean.reshape(-1, x.shape[-1]), var.reshape(-1, x.shape[-1])
        means[0], variances[0] = origin + distance, exact_var
        if mean.ndim > 1:
            means[1] = (origin - means[0]) + distance
        if var.ndim > 1:
            variances[1] = np.sqrt(exact_var)
        out[...] = gamma * (away * _rstd(exact_var, eps)) + beta

    @Composing
    @np.errstate(all="ignore")
    def batch_norm_backward(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
    ) -> None:
        count = x.size // x.shape[-1]
        rstd = _rstd(var, eps)
        z = _distances(x, mean, found=True) * rstd
        sum_g = sum_of_rows(grad_output)
        sum_gz = sum_of_rows(grad_output * z)
        grad_beta[...], grad_gamma[...] = sum_g, sum_gz
        grad_input[...] = gamma * rstd * (grad_output - sum_g / count - z * (sum_gz / count))

    @np.errstate(all="ignore")
    def batch_norm_backward_apply(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        grad_gamma: Array,
        grad_beta: Array,
        eps: float,
        grad_input: Array,
        workspace: Workspace,
    ) -> None:
        count = x.size // x.shape[-1]
        rstd = _rstd(var, eps)
        z = _distances(x, mean, found=True) * rstd
        grad_input[...] = gamma * rstd * (grad_output - grad_beta / count - z * (grad_gamma / count))

    @Composing
    @np.errstate(all="ignore")
    def normalise(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float, out: Array
    ) -> None:
        out[...] = gamma * (_distances(x, mean) * _rstd(var, eps)) + beta

    def update_running_stats(
        self, mean: Array, var: Array, *, momentum: float, count: int, running_mean: Array, running_var: Array
    ) -> None:
        unbiased = var * (count / max(count - 1, 1))
        running_mean[...] = (1 - momentum) * running_mean + momentum * mean
        running_var[...] = (1 - momentum) * running_var + momentum * unbiased

    @np.errstate(all="ignore")
    def group_norm(
        self,
        x: Array,
        gamma: Array | None,
        beta: Array | None,
        *,
        eps: float,
        out: Array,
        mean: Array,
        rstd: Array,
        workspace: Workspace,
    ) -> None:
        grouped = _in_groups(x, rstd)
        origin = grouped[:, :1, :, :1]
        away = grouped - origin
        distance = _mean_of_groups(away)
        away = away - distance
        away -= _mean_of_groups(away)
        exact = 1 / np.sqrt(_mean_of_groups(away * away)[:, 0, :, 0] + eps)
        mean[0], rstd[...] = (origin + distance)[:, 0, :, 0], exact
        mean[1] = (origin[:, 0, :, 0] - mean[0]) + distance[:, 0, :, 0]
        z = (away * exact[:, None, :, None]).reshape(x.shape)
        out[...] = z if gamma is None else gamma * z + beta

    @np.errstate(all="ignore")
    def group_norm_backward(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array | None,
        mean: Array,
        rstd: Array,
        *,
        grad_input: Array,
        grad_gamma: Array | None = None,
        grad_beta: Array | None = None,
        workspace: Workspace,
    ) -> None:
        scale = rstd.astype(np.float64)[:, None, :, None]
        high, low = mean.astype(np.float64)[:, :, None, :, None]
        z = (_in_groups(x, rstd) - high - low) * scale
        g = _in_groups(grad_output * (1.0 if gamma is None else gamma.astype(np.float64)), rstd)
        share, product = _mean_of_groups(g), _mean_of_groups(g * z)
        grad_input[...] = (scale * (g - share - z * product)).reshape(x.shape)
        if grad_gamma is not None and grad_beta is not None:
            grad_beta[...], grad_gamma[...] = sum_of_rows(grad_output), sum_of_rows(grad_output * z.reshape(x.shape))

    @np.errstate(all="ignore")
    def local_response_norm(self, x: Array, *, size: int, alpha: float, beta: float, k: float, out: Array) -> None:
        wide = x.astype(np.float64)
        out[...] = wide * _scales(wide, size, alpha, k) ** -beta

    @np.errstate(all="ignore")
    def local_response_norm_backward(
        self, grad_output: Array, x: Array, *, size: int, alpha: float, beta: float, k: float, out: Array
    ) -> None:
        wide = x.astype(np.float64)
        s = _scales(wide, size, alpha, k)
        shares = _sum_around(grad_output * wide * s ** (-beta - 1), (size - 1) // 2, size // 2)
        out[...] = grad_output * s**-beta - 2 * alpha * beta / size * wide * shares


def _in_groups(x: np.ndarray, rstd: np.ndarray) -> np.ndarray:
    """(N, ..., C) -> (N, pixels, G, C / G) in float64."""
    images, groups = rstd.shape
    return x.astype(np.float64).reshape(images, math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups)


def _mean_of_groups(a: np.ndarray) -> np.ndarray:
    """Mean of each group of `_in_groups`, added pairwise as `sum_of_rows` does; (N, 1, G, 1)."""
    images, pixels, groups, wide = a.shape
    together = np.ascontiguousarray(a.transpose(0, 2, 1, 3)).reshape(images, groups, pixels * wide)
    return np.asarray(together.mean(2)[:, None, :, None])


def _sum_around(a: np.ndarray, before: int, after: int) -> np.ndarray:
    """Sum over the last axis from `before` places before each one to `after` places after it."""
    count = a.shape[-1]
    return np.stack([a[..., max(c - before, 0) : c + after + 1].sum(-1) for c in range(count)], axis=-1)


def _scales(x: np.ndarray, size: int, alpha: float, k: float) -> np.ndarray:
    return np.asarray(k + alpha / size * _sum_around(x * x, size // 2, (size - 1) // 2))
