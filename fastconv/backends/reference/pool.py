# ruff: noqa: D102 - the contract documents each operation
"""Reference of pooling: one pass over the map for each cell of the window."""

from __future__ import annotations

import numpy as np

from fastconv._shapes import Padding, Pair
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.backends.reference.conv import taps


class NumpyPool(Backend):
    """Maximum and mean of windows."""

    def max_pool2d(
        self,
        x: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        out: Array,
        argmax: Array,
    ) -> None:
        out[...] = -np.inf
        argmax[...] = 0
        seen = np.zeros(out.shape, bool)  # a window of -inf has an argmax too: its first cell inside the map
        for (r, s), (p, q), (h, v) in taps(
            kernel_size, size=x.shape[1:3], out_size=out.shape[1:3], stride=stride, padding=padding, dilation=dilation
        ):
            value, best = x[:, h, v], out[:, p, q]
            wins = ~seen[:, p, q] | (value > best) | (np.isnan(value) & ~np.isnan(best))
            best[wins] = value[wins]
            argmax[:, p, q][wins] = r * kernel_size[1] + s
            seen[:, p, q] = True

    def max_pool2d_backward(
        self,
        grad_output: Array,
        argmax: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        out: Array,
    ) -> None:
        out[...] = 0
        all_taps = taps(
            kernel_size,
            size=out.shape[1:3],
            out_size=grad_output.shape[1:3],
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
        # For one cell of the map, a later tap belongs to an earlier window: backwards, the windows ascend.
        for (r, s), (p, q), (h, v) in reversed(list(all_taps)):
            won = argmax[:, p, q] == r * kernel_size[1] + s
            out[:, h, v] += np.where(won, grad_output[:, p, q], 0)

    def avg_pool2d(
        self, x: Array, *, kernel_size: Pair, stride: Pair, padding: Padding, count_include_pad: bool, out: Array
    ) -> None:
        size, out_size = x.shape[1:3], out.shape[1:3]
        total = np.zeros(out.shape, np.float64)
        for _, (p, q), (h, v) in taps(
            kernel_size, size=size, out_size=out_size, stride=stride, padding=padding, dilation=(1, 1)
        ):
            total[:, p, q] += x[:, h, v]
        out[...] = total / _counts(size, out_size, kernel_size, stride, padding, count_include_pad)

    def avg_pool2d_backward(
        self,
        grad_output: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        count_include_pad: bool,
        out: Array,
    ) -> None:
        size, out_size = out.shape[1:3], grad_output.shape[1:3]
        counts = _counts(size, out_size, kernel_size, stride, padding, count_include_pad)
        share = grad_output / counts.astype(np.float64)
        total = np.zeros(out.shape, np.float64)
        for _, (p, q), (h, v) in taps(
            kernel_size, size=size, out_size=out_size, stride=stride, padding=padding, dilation=(1, 1)
        ):
            total[:, h, v] += share[:, p, q]
        out[...] = total


def _counts(
    size: Pair, out_size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, count_include_pad: bool
) -> np.ndarray:
    """Cells by which each window's sum is divided, as a (P, Q, 1) array."""
    per_axis: list[np.ndarray] = []
    for n, m, k, step, (lo, hi) in zip(size, out_size, kernel_size, stride, padding, strict=True):
        first = np.arange(m) * step - lo
        last = first + k
        begin, end = (-lo, n + hi) if count_include_pad else (0, n)
        per_axis.append(np.minimum(last, end) - np.maximum(first, begin))
    rows, columns = per_axis
    return np.asarray(rows[:, None, None] * columns[:, None])
