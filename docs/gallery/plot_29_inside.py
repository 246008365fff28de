"""
What is inside while it learns
==============================

A network that does not learn tells why, if it is asked: how are the values spread that its layers put out, how large
are the gradients that come back, and how much does an update change the weights?
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

look = fc.training.diagnostics
data = fc.data.shapes10("train", size=600)
x = fc.asarray(((data.images / 255 - 0.5) / 0.25).astype(np.float32))
y = fc.asarray(data.labels)
loss = fc.losses.SoftmaxCrossEntropy()


def deep(activation):
    """Return five hidden layers of 64 units."""
    hidden = [layer for _ in range(5) for layer in (nn.Dense(64), activation())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Dense(10)).build((32, 32, 3), seed=0)


found = {
    activation.__name__: look.layer_statistics(deep(activation), x, y, loss)
    for activation in (nn.Sigmoid, nn.ReLU)
}
figure = fc.plot.histograms(found["Sigmoid"], "gradient", columns=6)
figure.suptitle(
    "gradients of the loss with respect to what each layer puts out, with sigmoids", fontsize=9
)

# %%
# With sigmoids each layer on the way back leaves less of the gradient, as their slope is at most 1/4. With ReLUs two
# hundred times as much of it arrives at the first layer.

figure = fc.plot.histograms(found["ReLU"], "gradient", columns=6)
figure.suptitle("with ReLUs", fontsize=9)

arrives = {}
for name, statistics in found.items():
    spread = [row.gradient.std for row in statistics.rows if row.kind == "Dense"]
    arrives[name] = spread[0] / spread[-1]
    print(f"{name}: {arrives[name]:.1e} of the gradient's spread arrives at the first layer")
assert arrives["Sigmoid"] < 1e-3
assert arrives["ReLU"] > 100 * arrives["Sigmoid"]

# %%
# How much an update changes: about a thousandth of the weights is usual (grey). The smaller rate is far below it.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained", sharey=True)
medians = {}
for ax, lr in zip(axes, (0.01, 0.3), strict=True):
    model, ratios = deep(nn.ReLU), look.UpdateRatio(every_steps=2)
    optimizer = fc.optim.SGD(model.parameters(), lr)
    fc.Trainer(model, loss, optimizer, callbacks=ratios).fit((x, y), 2, batch_size=50)
    weights = [
        look.UpdateRatios(
            record.step, {name: r for name, r in record.ratios.items() if name.endswith("weight")}
        )
        for record in ratios.records
    ]
    fc.plot.update_ratios(weights, ax)
    ax.set_title(f"learning rate {lr}")
    ax.label_outer()
    medians[lr] = np.median([list(record.ratios.values()) for record in weights])

print({lr: f"weights are changed by {ratio:.1e}" for lr, ratio in medians.items()})
assert 5e-4 < medians[0.3] < 5e-3
assert medians[0.3] > 5 * medians[0.01]
