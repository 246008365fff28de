"""
Dead units
==========

A ReLU that is closed for every image of a data set gets no gradient. In the first layer, which looks at the images
themselves, it never opens again; behind other layers it may, if what these put out changes. A few steps that are too
long are enough.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

data = fc.data.shapes10("train", size=500)
x = fc.asarray(((data.images / 255 - 0.5) / 0.25).astype(np.float32))
y = fc.asarray(data.labels)


loss = fc.losses.SoftmaxCrossEntropy()


def watched(lr, *before, activation=nn.ReLU, steps=12):
    """Train two layers of 256 units on all images at once; return the model and its dead units."""
    hidden = [nn.Dense(256), *(layer() for layer in before), activation()]
    again = [nn.Dense(256), *(layer() for layer in before), activation()]
    model = nn.Sequential(nn.Flatten(), *hidden, *again, nn.Dense(10)).build((32, 32, 3), seed=0)
    monitor = fc.training.diagnostics.DeadUnitMonitor(1, x)
    optimizer = fc.optim.SGD(model.parameters(), lr)
    trainer = fc.Trainer(model, loss, optimizer, callbacks=monitor)
    trainer.fit((x, y), steps, batch_size=len(data))
    return model, monitor.records


models, records_of = zip(*(watched(lr) for lr in (0.03, 0.3, 1.0)), strict=True)
runs = dict(zip((0.03, 0.3, 1.0), records_of, strict=True))
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
for ax, (lr, records) in zip(axes, runs.items(), strict=True):
    fc.plot.dead_units(records, ax)
    ax.set_title(f"learning rate {lr}")
    ax.label_outer()

# %%
# What is dead gets no gradient at all, and in the first layer who is dead stays so:


def gradients(model):
    """Return the gradients of the weights of both hidden layers, with all images."""
    model.zero_grad()
    predictions, context = model.forward(x, training=True)
    model.backward(loss(predictions, y)[1], context)
    return [fc.to_numpy(model.layers[number].weight.grad) for number in (1, 3)]


records = list(runs[1.0].values())
for gradient, row in zip(gradients(models[-1]), records[-1].rows, strict=True):
    assert not gradient[:, list(row.dead)].any()
    assert gradient.any()
dead_first = [set(record.rows[0].dead) for record in records]
assert all(before <= after for before, after in itertools.pairwise(dead_first))

# %%
# What helps: a smaller rate, a normalisation in front, or a function that is never quite flat, such as LeakyReLU, with
# which no unit is without a gradient.

shares = {
    f"rate {lr}": [record.rows[1].fraction for record in records.values()]
    for lr, records in runs.items()
}
_, normalised = watched(1.0, nn.BatchNorm2d)
shares["rate 1.0, normalised"] = [record.rows[1].fraction for record in normalised.values()]
for name, share in shares.items():
    print(f"{name:20} {100 * share[-1]:3.0f} % of the second layer are dead in the end")
leaky, _ = watched(0.3, activation=nn.LeakyReLU)
assert all(gradient.any(0).all() for gradient in gradients(leaky))

assert max(shares["rate 0.03"]) < 0.05
assert max(shares["rate 1.0"]) > 0.3
assert max(shares["rate 1.0, normalised"]) < 0.05
