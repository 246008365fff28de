"""Reference of pooling: one pass over the map for each cell of the window."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Pair, PoolWindows
from fastconv.backends.reference.conv import taps


class _Sums:
    """Sums in float64, term by term; of terms in float64 with what the roundings lost, for long ones to be as good."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._total = np.zeros(shape, np.float64)
        self._lost = np.zeros(shape, np.float64) if dtype == np.float64 else None

    def add(self, place: tuple[slice, slice], term: np.ndarray) -> None:
        """Add a term to the pixels at `place` (Knuth's two-sum)."""
        at = (slice(None), *place)
        before = self._total[at]
        grown = before + term
        if self._lost is not None:
            there = grown - before
            self._lost[at] += (before - (grown - there)) + (term - there)
        self._total[at] = grown

    def values(self) -> np.ndarray:
        """Return them; what was lost is NaN where a sum is not finite."""
        if self._lost is None:
            return self._total
        return np.asarray(np.where(np.isnan(self._lost), self._total, self._total + self._lost))


class NumpyPool(Backend):
    """Maximum and mean of windows; maps cut into parts, and enlarged."""

    def max_pool2d(self, x: Array, *, windows: PoolWindows, out: Array, argmax: Array) -> None:
        out[...] = -np.inf
        argmax[...] = 0
        seen = np.zeros(out.shape, bool)  # a window of -inf has an argmax too: its first cell inside the map
        for (r, s), (p, q), (h, v) in taps(windows, x.shape[1:3], out.shape[1:3]):
            value, best = x[:, h, v], out[:, p, q]
            wins = ~seen[:, p, q] | (value > best) | (np.isnan(value) & ~np.isnan(best))
            best[wins] = value[wins]
            argmax[:, p, q][wins] = r * windows.kernel_size[1] + s
            seen[:, p, q] = True

    def max_pool2d_backward(self, grad_output: Array, argmax: Array, *, windows: PoolWindows, out: Array) -> None:
        out[...] = 0
        all_taps = taps(windows, out.shape[1:3], grad_output.shape[1:3])
        # For one cell of the map, a later tap belongs to an earlier window: backwards, the windows ascend.
        for (r, s), (p, q), (h, v) in reversed(list(all_taps)):
            won = argmax[:, p, q] == r * windows.kernel_size[1] + s
            out[:, h, v] += np.where(won, grad_output[:, p, q], 0)

    @np.errstate(all="ignore")
    def avg_pool2d(self, x: Array, *, windows: PoolWindows, out: Array) -> None:
        size, out_size = x.shape[1:3], out.shape[1:3]
        sums = _Sums(out.shape, x.dtype)
        for _, place, (h, v) in taps(windows, size, out_size):
            sums.add(place, x[:, h, v])
        out[...] = sums.values() / _counts(windows, size, out_size)

    @np.errstate(all="ignore")
    def avg_pool2d_backward(self, grad_output: Array, *, windows: PoolWindows, out: Array) -> None:
        size, out_size = out.shape[1:3], grad_output.shape[1:3]
        counts = _counts(windows, size, out_size)
        share = grad_output / counts.astype(np.float64)
        sums = _Sums(out.shape, grad_output.dtype)
        for _, (p, q), place in taps(windows, size, out_size):
            sums.add(place, share[:, p, q])
        out[...] = sums.values()

    @np.errstate(all="ignore")
    def adaptive_avg_pool2d(self, x: Array, *, out: Array) -> None:
        for (p, q), (h, w) in _parts_of_map(x.shape[1:3], out.shape[1:3]):
            out[:, p, q] = _sum_over(x[:, h, w], (1, 2)) / ((h.stop - h.start) * (w.stop - w.start))

    @np.errstate(all="ignore")
    def adaptive_avg_pool2d_backward(self, grad_output: Array, *, out: Array) -> None:
        sums = _Sums(out.shape, grad_output.dtype)
        for (p, q), (h, w) in _parts_of_map(out.shape[1:3], grad_output.shape[1:3]):
            cells = (h.stop - h.start) * (w.stop - w.start)
            sums.add((h, w), grad_output[:, p, q].astype(np.float64)[:, None, None] / cells)
        out[...] = sums.values()

    def upsample2d(self, x: Array, *, scale: Pair, out: Array) -> None:
        out[...] = x.repeat(scale[0], axis=1).repeat(scale[1], axis=2)

    def upsample2d_backward(self, grad_output: Array, *, scale: Pair, out: Array) -> None:
        batch, height, width, channels = out.shape
        blocks = grad_output.reshape(batch, height, scale[0], width, scale[1], channels)
        out[...] = _sum_over(blocks, (2, 4))


def _sum_over(a: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
    """Sum over two axes in float64, pairwise: as NumPy adds along the last axis of an array alone."""
    last = np.ascontiguousarray(np.moveaxis(a, axes, (-2, -1)), dtype=np.float64)
    return np.asarray(last.reshape(*last.shape[:-2], math.prod(last.shape[-2:])).sum(-1))


def _parts_of_map(size: Pair, parts: Pair) -> Iterator[tuple[Pair, tuple[slice, slice]]]:
    """Yield each part of a map, by its number, and the rows and columns that it has."""
    for p, q in np.ndindex(*parts):
        rows, columns = (
            slice(math.floor(i * n / m), math.ceil((i + 1) * n / m))
            for i, n, m in zip((p, q), size, parts, strict=True)
        )
        yield (p, q), (rows, columns)


def _counts(windows: PoolWindows, size: Pair, out_size: Pair) -> np.ndarray:
    """Cells by which each window's sum is divided, as a (P, Q, 1) array."""
    per_axis: list[np.ndarray] = []
    axes = zip(size, out_size, windows.kernel_size, windows.stride, windows.padding, strict=True)
    for n, m, k, step, (lo, hi) in axes:
        first = np.arange(m) * step - lo
        last = first + k
        begin, end = (-lo, n + hi) if windows.count_include_pad else (0, n)
        per_axis.append(np.minimum(last, end) - np.maximum(first, begin))
    rows, columns = per_axis
    return np.asarray(rows[:, None, None] * columns[:, None])
