from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.parallel import SingleProcess
from fastconv.training.shard_pass import CapturedShard
from tests.training.ranks import by_ranks, digest, small_data, small_model, trainer_of


def test_weights_of_rows_need_a_loss_of_the_list():
    x, y = small_data(16)
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(), SingleProcess(), loss=lambda p, t, w=None: (np.mean(p), np.ones_like(p)))
        with pytest.raises(ArgumentError, match="sample_weight: got weights with parallel"):
            trainer.train_step(x, y, np.ones(16, np.float32))


def test_a_pass_that_meets_a_value_that_is_not_finite_is_done_again(monkeypatch):
    """As it is, by the kernels that are right then, behind buckets that were sent already."""
    x, y = small_data(16)

    def rank(communicator, breaks):
        model = small_model()
        trainer = trainer_of(model, communicator, shards=4, bucket_mb=1e-4)
        trainer.train_step(x, y)
        if breaks:
            real = CapturedShard.run_shard

            def half(self, shard, share, number, send):
                parts = self._parts_recorded
                self._parts_recorded = [*parts[:2], lambda: False, *parts[3:]] if send and len(parts) > 2 else parts
                try:
                    return real(self, shard, share, number, send)
                finally:
                    self._parts_recorded = parts

            monkeypatch.setattr(CapturedShard, "run_shard", half)
        trainer.train_step(x, y)
        monkeypatch.undo()
        return digest(model)

    wanted, found = (by_ranks(1, "numba", lambda c, b=breaks: rank(c, b)) for breaks in (False, True))
    assert found == wanted
