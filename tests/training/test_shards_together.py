from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv.nn.core.meeting import meeting
from fastconv.parallel.tree import in_tree
from fastconv.training.shards_together import pass_together
from fastconv.training.step import Done
from tests.training.ranks import small_data, small_model


def test_each_has_its_own_gradients_and_the_models_stay():
    x, _ = small_data(12)
    with fc.use_backend("numpy"):
        model = small_model(dropout=0.0)
        weight, running = model.layers[5].weight, model.layers[1].running_mean
        weight.add_grad(np.full(weight.shape, 7, np.float32))
        targets, before = weight.grad, np.array(running.array)

        def one(shard):
            y, context = model.forward(x[4 * shard : 4 * shard + 4], training=True)
            meeting.get().join(np.zeros(1), np.add)  # all of them are in the midst of it
            model.zero_grad()
            model.backward(np.full_like(y, shard + 1), context, needs_input_grad=False)
            met = meeting.get().join(np.array([10.0**shard]), np.add)
            return Done(met, y)

        passes = [lambda shard=shard: one(shard) for shard in range(3)]
        found = pass_together(model, passes, lambda values, joining: in_tree(values, joining))
        for shard, passed in enumerate(found):
            assert passed.done.loss.tolist() == [111.0]
            alone = small_model(dropout=0.0)
            y, context = alone.forward(x[4 * shard : 4 * shard + 4], training=True)
            alone.zero_grad()
            alone.backward(np.full_like(y, shard + 1), context, needs_input_grad=False)
            for parameter in alone.parameters():
                flat = passed.gradients[0][parameter.offset : parameter.offset + parameter.size]
                np.testing.assert_array_equal(flat.reshape(parameter.shape), parameter.grad)
            np.testing.assert_array_equal(passed.statistics[0], alone.layers[1].running_mean.arena.data)
        np.testing.assert_array_equal(running.array, before)
        assert weight.grad_target().base is targets.base
    assert meeting.get() is None
