"""
Dead units
==========

A ReLU that is closed for every image of a data set gets no gradient, and so never opens again. One step that is too
long is enough.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

data = fc.data.shapes10("train", size=500)
x = fc.asarray(((data.images / 255 - 0.5) / 0.25).astype(np.float32))
y = fc.asarray(data.labels)


def watched(activation, lr, steps=12):
    """Train two hidden layers of 256 units on all images at once; return what each step left."""
    model = nn.Sequential(
        *(nn.Flatten(), nn.Dense(256), activation(), nn.Dense(256), activation(), nn.Dense(10)),
    ).build((32, 32, 3), seed=0)
    monitor = fc.training.diagnostics.DeadUnitMonitor(1, x)
    optimizer = fc.optim.SGD(model.parameters(), lr)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=monitor)
    trainer.fit((x, y), steps, batch_size=len(data))
    return monitor.records


runs = {lr: watched(nn.ReLU, lr) for lr in (0.03, 0.3, 1.0)}
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharey=True)
for ax, (lr, records) in zip(axes, runs.items(), strict=True):
    fc.plot.dead_units(records, ax)
    ax.set_title(f"learning rate {lr}")
    ax.label_outer()

# %%
# What helps: a smaller rate, a normalisation in front, or a function that is never quite flat, such as LeakyReLU.

shares = {
    lr: [record.rows[1].fraction for record in records.values()] for lr, records in runs.items()
}
print(
    {lr: f"{100 * share[-1]:.0f} %" for lr, share in shares.items()},
    "of the second layer are dead in the end",
)
assert max(shares[0.03]) < 0.05
assert max(shares[1.0]) > 0.3
