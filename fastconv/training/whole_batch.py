"""What ranks tell each other about a batch: before they compute their shards, and what these came to."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.losses import Loss
from fastconv.losses.listed import ListedLoss, is_listed
from fastconv.metrics import Accuracy, Metric, Sums
from fastconv.metrics.metric import summed
from fastconv.nn.core.meeting import Joining
from fastconv.nn.model.model import Layer
from fastconv.parallel.data_parallel import DataParallel
from fastconv.parallel.tree import gathered, in_tree
from fastconv.training.shard_pass import Share
from fastconv.training.step import Batch, Done
from fastconv.training.totals import Totals


class GlobalBatch(NamedTuple):
    """A batch of all ranks.

    Attributes
    ----------
    rows : (shards,) int array
    total : int
        Their sum.
    divisor : (1,) float64 array, or None
        What the mean of the loss divides by, if it is one of fastconv's list.
    """

    rows: np.ndarray
    total: int
    divisor: Array | None

    def share(self, loss: Loss, shard: Batch) -> Share:
        """Return what the loss of a shard takes of it."""
        if is_listed(loss):
            return self.divisor
        return None if getattr(loss, "reduction", "mean") == "sum" else shard.x.shape[0] / self.total


def tell_of_batch(model: Layer, loss: Loss, parallel: DataParallel, shards: Sequence[Batch]) -> GlobalBatch:
    """Return what the shards of all ranks are together."""
    mine = np.array([[shard.x.shape[0], _divisor(model, loss, shard)] for shard in shards])
    of_all = parallel.exchange.now(lambda: gathered(parallel.communicator, mine)).reshape(-1, 2)
    rows, divisor = of_all[:, 0].astype(np.int64), None
    if is_listed(loss) and loss.reduction == "mean":
        divisor = model.backend.asarray(np.array([in_tree(list(of_all[:, 1]), operator.add)]))
    return GlobalBatch(rows, int(rows.sum()), divisor)


def _divisor(model: Layer, loss: Loss, shard: Batch) -> float:
    """Return what a shard adds to what the mean of the loss divides by."""
    x, targets, weight = shard
    if not isinstance(loss, ListedLoss) or not x.shape[0]:
        return 0.0
    counted = loss.counted(targets, (x.shape[0], *model.infer(x.shape[1:])), model.dtype, weight)
    return float(model.backend.to_numpy(counted)[0])


class Result(NamedTuple):
    """What a batch came to: its loss, how many images, their weight, and the sums of metrics."""

    loss: float
    images: int
    weight: float
    sums: Mapping[Sums, np.ndarray]


class Results:
    """What the own shards of a batch come to, and then those of all ranks.

    Numbers are joined in float64, in the tree over all shards: so they are the same for any number of ranks.
    """

    def __init__(self, model: Layer, loss: Loss, metrics: tuple[Metric, ...] | None) -> None:
        self._model, self._asked = model, metrics is not None
        self._totals = Totals(model.backend, loss, metrics)
        self._metrics = {metric.sums: metric for metric in ((Accuracy(),) if metrics is None else metrics)}
        self._found: list[np.ndarray] = []
        self._forms: dict[Sums, np.ndarray] = {}

    def add(self, shard: Batch, done: Done | None) -> None:
        """Count in the next shard: None if it has no rows."""
        backend, (x, y, weight) = self._model.backend, shard
        if done is None:
            shape = (0, *self._model.infer(x.shape[1:]))
            done = Done(np.zeros(()), backend.empty(shape, self._model.dtype))
        count = self._totals.count(done.predictions, y, weight) if x.shape[0] else 0.0
        counts = [float(backend.to_numpy(done.loss)), float(x.shape[0])]
        counts.append(count if isinstance(count, float) else float(backend.to_numpy(count)[0]))
        numbers = [np.array(counts)]
        for sums, metric in self._metrics.items():
            if self._asked or not sums.misfit(done.predictions, y):
                state = sums.zeros(done.predictions)
                if x.shape[0]:
                    state = np.array(backend.to_numpy(summed(backend, metric, done.predictions, y, None)))
                self._forms[sums] = state
                numbers.append(state.astype(np.float64).reshape(-1))
        self._found.append(np.concatenate(numbers))

    def of_all(self, parallel: DataParallel) -> Result:
        """Return what the shards of all ranks came to."""
        total = joined_by_all(parallel, self._found, operator.add)
        sums, place = {}, 3
        for each, form in self._forms.items():
            sums[each] = total[place : place + form.size].astype(form.dtype).reshape(form.shape)
            place += form.size
        return Result(float(total[0]), int(total[1]), float(total[2]), sums)


def joined_by_all(parallel: DataParallel, own: list[np.ndarray], joining: Joining) -> np.ndarray:
    """Join what the own shards bring with what those of other ranks do, in the tree over all shards."""
    mine = in_tree(own, joining)
    return in_tree(list(parallel.exchange.now(lambda: gathered(parallel.communicator, mine))), joining)
