from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.parallel import DataParallel
from fastconv.training.step import Batch, Done
from fastconv.training.whole_batch import Results, tell_of_batch
from tests.training.ranks import by_ranks, small_model


def _shards(rank, rows):
    return [Batch(np.zeros((n, 6, 6, 2), np.float32), np.zeros(n, np.int32)) for n in rows[2 * rank : 2 * rank + 2]]


def test_all_know_the_rows_and_what_the_mean_divides_by():
    def rank(communicator):
        parallel = DataParallel(communicator, shards=4)
        shards = _shards(communicator.rank, (3, 0, 2, 1))
        whole = tell_of_batch(small_model(), fc.losses.SoftmaxCrossEntropy(), parallel, shards)
        weighted = [shard._replace(weight=np.full(len(shard.y), 0.5, np.float32)) for shard in shards]
        other = tell_of_batch(small_model(), fc.losses.SoftmaxCrossEntropy(), parallel, weighted)
        of_sum = tell_of_batch(small_model(), fc.losses.SoftmaxCrossEntropy(reduction="sum"), parallel, shards)
        return whole.rows.tolist(), whole.total, whole.divisor.tolist(), other.divisor.tolist(), of_sum.divisor

    assert by_ranks(2, "numpy", rank) == [([3, 0, 2, 1], 6, [6.0], [3.0], None)] * 2


def test_results_are_those_of_all_shards():
    def rank(communicator):
        parallel, model = DataParallel(communicator, shards=4), small_model()
        results = Results(model, fc.losses.SoftmaxCrossEntropy(), (fc.metrics.Accuracy(), fc.metrics.ConfusionMatrix()))
        for shard in _shards(communicator.rank, (3, 0, 2, 1)):
            predictions = np.zeros((len(shard.y), 3), np.float32)
            predictions[:1, 1 + communicator.rank] = 1
            results.add(shard, Done(np.array(0.25, np.float32), predictions) if len(shard.y) else None)
        found = results.of_all(parallel)
        return found.loss, found.images, found.weight, [sums.tolist() for sums in found.sums.values()]

    first, second = by_ranks(2, "numpy", rank)
    assert first == second
    assert first[:3] == (0.75, 6, 6.0)
    assert [[3, 1, 2], [0, 0, 0], [0, 0, 0]] in first[3]


@pytest.mark.parametrize("metrics", [None, ()])
def test_there_may_be_no_metrics_that_fit(metrics):
    def rank(communicator):
        results = Results(small_model(), fc.losses.MeanSquaredError(), metrics)
        rows = Batch(np.zeros((2, 6, 6, 2), np.float32), np.zeros((2, 3), np.float32))
        results.add(rows, Done(np.array(1.5, np.float32), np.zeros((2, 3), np.float32)))
        return results.of_all(DataParallel(communicator, shards=1)).loss

    assert by_ranks(1, "numpy", rank) == [1.5]
