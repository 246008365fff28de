"""
Finding a learning rate
=======================

Instead of guessing, let the rate rise from far too small to far too large within one short run, and look where the loss
falls (Smith 2015, https://arxiv.org/abs/1506.01186). The model is left as it was.
"""

import numpy as np

import fastconv as fc

train = fc.data.DataLoader(fc.data.shapes10("train", size=3000), 64)


def trainer_of(model, lr):
    """Return what trains it by momentum at this rate."""
    optimizer = fc.optim.SGD(model.parameters(), lr, momentum=0.9)
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)


model = fc.models.lenet5(seed=0)
before = [fc.to_numpy(parameter.data).copy() for parameter in model.parameters()]
trainer = trainer_of(model, 0.01)
found = fc.training.find_learning_rate(trainer, train, 1e-4, 10.0, steps=80)
ax = found.plot()

# %%
steepest, tenth = found.suggestion
print(f"steepest at {steepest:.2g}; a tenth of the rate with the lowest loss: {tenth:.2g}")
assert 1e-4 < steepest < 10
assert found.losses[-1] > min(found.losses)
for parameter, values in zip(model.parameters(), before, strict=True):
    assert np.array_equal(fc.to_numpy(parameter.data), values)

# %%
# A tenth of the rate with the lowest loss is a good beginning: in two epochs at it the loss falls, at a tenth of it hardly
# yet, and the rate of the lowest loss itself is borne for a moment only.

losses = {}
for rate in (tenth / 10, tenth, tenth * 10):
    history = trainer_of(fc.models.lenet5(seed=0), rate).fit(train, 2)
    losses[rate] = history.history["loss"]
    print(f"rate {rate:.2g}: loss {losses[rate][0]:.2f}, then {losses[rate][1]:.2f}")
small, right, large = losses.values()
assert right[1] < small[1] - 0.1
assert right[1] < right[0] - 0.1
assert large[1] > 2.31  # ln 10 is chance
