"""Reference of the losses, under the names of `fastconv.kernels.losses`, and of the sums of metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Workspace
from fastconv.kernels.losses import ChosenLoss

CostAndSlope = tuple[np.ndarray, np.ndarray]


def _softmax_cross_entropy(x: np.ndarray, t: np.ndarray, c: np.ndarray, smoothing: float) -> CostAndSlope:
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    q = c * ((1 - smoothing) * t + smoothing / x.shape[1])
    total = (1 - smoothing) * (c * t).sum(axis=1, keepdims=True) + smoothing * c.mean()
    # A class that is impossible and no target costs nothing: 0 * log(0) = 0 here.
    return -np.where(q != 0, q * log_p, 0), np.exp(log_p) * total - q


def _over_margins(of: Callable[[np.ndarray], CostAndSlope]) -> Callable[..., CostAndSlope]:
    """Return a loss over ``x[j] - x[y] + margin`` of the classes j but y; t is 1 at y, 0 elsewhere."""

    def loss(x: np.ndarray, t: np.ndarray, c: np.ndarray, margin: float) -> CostAndSlope:
        cost, slope = of(np.maximum(x - x[t == 1][:, None] + margin, 0))
        cost, slope = np.where(t == 1, 0, cost), np.where(t == 1, 0, slope)
        own = (c * t).sum(axis=1, keepdims=True)
        return own * cost, own * np.where(t == 1, -slope.sum(axis=1, keepdims=True), slope)

    return loss


def _binary_cross_entropy(x: np.ndarray, t: np.ndarray, c: np.ndarray) -> CostAndSlope:
    e = np.exp(-np.abs(x))
    p, q = np.where(x < 0, e, 1) / (1 + e), np.where(x < 0, 1, e) / (1 + e)
    cost = np.where(t == 0, 0, c * t * np.logaddexp(0, -x)) + np.where(t == 1, 0, (1 - t) * np.logaddexp(0, x))
    return cost, (1 - t) * p - c * t * q


def _huber(x: np.ndarray, t: np.ndarray, c: np.ndarray, delta: float) -> CostAndSlope:
    d = x - t
    far = np.abs(d) > delta
    return np.where(far, delta * (np.abs(d) - delta / 2), d * d / 2), np.clip(d, -delta, delta)


# Cost and gradient of x, t, the weights of channels and the parameters: of each row, or of each element.
_FORMULAS: dict[str, Callable[..., CostAndSlope]] = {
    "softmax_cross_entropy": _softmax_cross_entropy,
    "multiclass_hinge": _over_margins(lambda m: (m, np.where(m > 0, 1, m))),
    "squared_hinge": _over_margins(lambda m: (m * m, 2 * m)),
    "binary_cross_entropy": _binary_cross_entropy,
    "mean_squared_error": lambda x, t, c: ((x - t) ** 2, 2 * (x - t)),
    "mean_absolute_error": lambda x, t, c: (np.abs(x - t), np.sign(x - t)),
    "huber": _huber,
}


class NumpyLosses(Backend):
    """Losses with their gradients, and the sums that metrics are made of."""

    @np.errstate(all="ignore")
    def loss_and_grad(
        self,
        chosen: ChosenLoss,
        predictions: Array,
        targets: Array,
        *,
        channel_weight: Array | None,
        sample_weight: Array | None,
        ignore_index: int | None,
        mean: bool,
        divisor: Array | None = None,
        loss: Array,
        grad: Array,
        workspace: Workspace,
    ) -> None:
        count, width = predictions.shape[0], predictions.shape[-1]
        if not count:
            loss[...] = 0
            return
        rows = chosen.function.over == "rows"
        weight = np.ones(count) if sample_weight is None else sample_weight.astype(np.float64)
        channel = np.ones(width) if channel_weight is None else channel_weight.astype(np.float64)
        t, counted = targets, weight
        if rows and targets.ndim == 1:
            weight = np.where(targets == ignore_index, 0, weight)
            known = np.where(weight > 0, targets, 0)
            t, counted = np.eye(width)[known], weight * channel[known]
        x = predictions.astype(np.float64)
        cost, slope = _FORMULAS[chosen.name](x, t.astype(np.float64), channel, *chosen.values)
        by_row = weight.reshape(-1, *[1] * (x.ndim - 1))
        total = counted.sum() * (1 if rows else x.size // count) if mean else 1.0
        if mean and divisor is not None:
            total = divisor[0]
        # What has no weight is left out, whatever it is.
        loss[...] = np.where(by_row > 0, by_row * cost, 0).sum() / (total or 1)
        grad[...] = np.where(by_row > 0, by_row * slope, 0) / (total or 1)

    def loss_divisor(
        self,
        chosen: ChosenLoss,
        targets: Array,
        *,
        channel_weight: Array | None,
        sample_weight: Array | None,
        ignore_index: int | None,
        out: Array,
        workspace: Workspace,
    ) -> None:
        count, rows = targets.shape[0], chosen.function.over == "rows"
        weight = np.ones(count) if sample_weight is None else sample_weight.astype(np.float64)
        if rows and targets.ndim == 1:
            weight = np.where(targets == ignore_index, 0, weight)
            if channel_weight is not None:
                weight = weight * channel_weight.astype(np.float64)[np.where(weight > 0, targets, 0)]
        out[0] = weight.sum() * (1 if rows or not count else targets.size // count)

    def count_correct(self, logits: Array, labels: Array, *, top: int, out: Array) -> None:
        known = (labels >= 0) & (labels < logits.shape[1])
        x, y = logits[known], labels[known][:, None]
        own, number = np.take_along_axis(x, y, axis=1), np.arange(x.shape[1])
        larger = (x > own) | (np.isnan(x) & ~np.isnan(own))
        equal = (x == own) | (np.isnan(x) & np.isnan(own))
        out[0] += np.count_nonzero((larger | (equal & (number < y))).sum(axis=1) < top)
        out[1] += len(y)

    def count_confusions(self, logits: Array, labels: Array, *, out: Array) -> None:
        known = (labels >= 0) & (labels < logits.shape[1])
        if known.any():  # of no classes none is
            np.add.at(out, (labels[known], logits[known].argmax(axis=1)), 1)

    @np.errstate(all="ignore")
    def sum_errors(self, predictions: Array, targets: Array, *, out: Array) -> None:
        if not targets.size:
            return
        x, t = predictions.astype(np.float64), targets.astype(np.float64)
        if out[0, 0] == 0:
            out[1] = t[0]
        error, distance = x - t, t - out[1]
        out[0] += len(t)
        for row, values in enumerate((error, np.abs(error), error**2, distance, distance**2), start=2):
            out[row] += values.sum(axis=0)
