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
x = ((data.images / 255 - 0.5) / 0.25).astype(np.float32)
y = data.labels


def dead_share(activation, lr, steps=12):
    """Return the share of the 256 units of the second hidden layer that no image opens, after each step."""
    model = nn.Sequential(
        *(nn.Flatten(), nn.Dense(256), activation(), nn.Dense(256), activation(), nn.Dense(10)),
    ).build((32, 32, 3), seed=0)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), lr))
    share = []
    for _ in range(steps):
        trainer.train_step(x, y)
        values = x
        for layer in model.layers[:4]:
            values = layer(values)
        share.append(float((values <= 0).all(0).mean()))
    return np.array(share)


shares = {lr: dead_share(nn.ReLU, lr) for lr in (0.03, 0.3, 1.0)}
figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
for number, (lr, share) in enumerate(shares.items()):
    ax.plot(range(1, 13), 100 * share, color=fc.plot.COLOURS[number], marker=".", label=f"learning rate {lr}")
ax.set(xlabel="step", ylabel="units that no image opens (%)", ylim=(0, 100))
ax.legend(fontsize="small")

# %%
# What helps: a smaller rate, a normalisation in front, or a function that is never quite flat, such as LeakyReLU.

print({lr: f"{100 * share[-1]:.0f} %" for lr, share in shares.items()})
assert shares[0.03].max() < 0.05
assert shares[1.0].max() > 0.3
