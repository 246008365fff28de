# ruff: noqa: D102 - the contract, base.py, documents each operation
"""Reference of batch normalisation; statistics and their sums in float64."""

from __future__ import annotations

import numpy as np

from fastconv.backends.base import Array, Backend, Workspace


def _normalised(x: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ``z = (x - mean) / sqrt(var + eps)`` and ``1 / sqrt(var + eps)`` in float64."""
    rstd = 1 / np.sqrt(var.astype(np.float64) + eps)
    return (x - mean.astype(np.float64)) * rstd, rstd


class NumpyNorm(Backend):
    """Batch normalisation over all axes but the last."""

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
        wide = x.astype(np.float64)
        axes = tuple(range(x.ndim - 1))
        exact_mean, exact_var = wide.mean(axes), wide.var(axes)
        mean[...], var[...] = exact_mean, exact_var
        z, _ = _normalised(wide, exact_mean, exact_var, eps)
        out[...] = gamma * z + beta

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
        workspace: Workspace,
    ) -> None:
        axes = tuple(range(x.ndim - 1))
        count = x.size // x.shape[-1]
        z, rstd = _normalised(x, mean, var, eps)
        sum_g = grad_output.sum(axes, dtype=np.float64)
        sum_gz = (grad_output * z).sum(axes)
        grad_beta[...], grad_gamma[...] = sum_g, sum_gz
        grad_input[...] = gamma * rstd * (grad_output - sum_g / count - z * (sum_gz / count))

    @np.errstate(all="ignore")
    def batch_norm_inference(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float, out: Array
    ) -> None:
        z, _ = _normalised(x, mean, var, eps)
        out[...] = gamma * z + beta

    def update_running_stats(
        self, mean: Array, var: Array, *, momentum: float, count: int, running_mean: Array, running_var: Array
    ) -> None:
        unbiased = var * (count / max(count - 1, 1))
        running_mean[...] = (1 - momentum) * running_mean + momentum * mean
        running_var[...] = (1 - momentum) * running_var + momentum * unbiased
