"""
Finding a learning rate
=======================

Instead of guessing, let the rate rise from far too small to far too large within one short run, and look where the loss
falls (Smith 2015, https://arxiv.org/abs/1506.01186). The model is left as it was.
"""

import numpy as np

import fastconv as fc

train = fc.data.DataLoader(fc.data.shapes10("train", size=3000), 64)
model = fc.models.lenet5(seed=0)
before = [fc.to_numpy(parameter.data).copy() for parameter in model.parameters()]
trainer = fc.Trainer(
    model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.01, momentum=0.9)
)
found = fc.training.find_learning_rate(trainer, train, 1e-4, 10.0, steps=80)
ax = found.plot()

# %%
steepest, tenth = found.suggestion
print(f"steepest at {steepest:.2g}; a tenth of the rate with the lowest loss: {tenth:.2g}")
assert 1e-4 < steepest < 10
assert found.losses[-1] > min(found.losses)
for parameter, values in zip(model.parameters(), before, strict=True):
    assert np.array_equal(fc.to_numpy(parameter.data), values)
