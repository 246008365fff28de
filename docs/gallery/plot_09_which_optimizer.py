"""
Which optimizer?
================

Figure 2 of the paper on Adam (Kingma and Ba 2014) trains two fully connected layers with dropout by five optimizers; its
figure 3 a convolutional network by three of them, each without dropout and with it, on the image and on what is dense.
Here are both, shorter, with narrower layers, and on images that the program draws.
"""

import matplotlib.pyplot as plt

import fastconv as fc
from fastconv import nn

optimizers = {
    "Adagrad": lambda p: fc.optim.Adagrad(p, 0.01),
    "RMSProp": lambda p: fc.optim.RMSProp(p, 1e-3),
    "SGD, Nesterov": lambda p: fc.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adadelta": lambda p: fc.optim.Adadelta(p, 1.0),
    "Adam": lambda p: fc.optim.Adam(p, 1e-3),
}
three = ("Adagrad", "SGD, Nesterov", "Adam")
data = fc.data.shapes10("train", size=1500)


def dense():
    """Return the layers of figure 2."""
    hidden = [(nn.Dense(128), nn.ReLU(), nn.Dropout(0.2)) for _ in range(2)]
    return nn.Sequential(nn.Flatten(), *hidden[0], *hidden[1], nn.Dense(10))


def convolutional(dropout):
    """Return the layers of figure 3."""
    image, hidden = ([nn.Dropout(p)] if dropout else [] for p in (0.1, 0.25))
    return nn.Sequential(
        *(*image, nn.Conv2d(16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Flatten(), nn.Dense(64), nn.ReLU(), *hidden, nn.Dense(10)),
    )


def train(layers, name):
    """Train for five epochs by the optimizer of this name."""
    model = layers.build((32, 32, 3), seed=0)
    optimizer = optimizers[name](model.parameters())
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)
    return trainer.fit(fc.data.DataLoader(data, 50, mean=(0.5,) * 3, std=(0.25,) * 3), 5)


figure_2 = {name: train(dense(), name) for name in optimizers}
figure_3 = {
    name + " + dropout" * dropout: train(convolutional(dropout), name)
    for name in three
    for dropout in (False, True)
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for ax, (title, runs) in zip(
    axes, {"fully connected": figure_2, "convolutional": figure_3}.items(), strict=True
):
    fc.plot.curves(runs, "loss", ax=ax)
    ax.set_title(title)

# %%
# All of them learn. On the left RMSProp hides Adagrad in the first epoch: it takes in a hundredth of each square and
# forgets little of them in thirty steps, so that with a tenth of Adagrad's rate it does about the same.

for figure_of in (figure_2, figure_3):
    for name, run in figure_of.items():
        print(f"{name:23}", *(f"{loss:.3f}" for loss in run.history["loss"]))
        assert run.history["loss"][-1] < 2.25
first = {name: run.history["loss"][0] for name, run in figure_2.items()}
assert abs(first["Adagrad"] / first["RMSProp"] - 1) < 0.02

# %%
# On the right the paper finds, over 45 epochs, that Adam and SGD come to converge considerably faster than Adagrad. Adam
# is ahead of it here too; SGD starts slowly, and falls faster than Adagrad in the last of five epochs. Dropout makes the
# training cost higher, whoever trains: it is there for other images.

losses = {name: run.history["loss"] for name, run in figure_3.items()}
for dropout in ("", " + dropout"):
    assert losses["Adam" + dropout][-1] < losses["Adagrad" + dropout][-1]
last = {name: losses[name][-2] - losses[name][-1] for name in three}
assert last["SGD, Nesterov"] > last["Adagrad"]
assert all(losses[f"{name} + dropout"][-1] > losses[name][-1] for name in three)
