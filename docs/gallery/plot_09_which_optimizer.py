"""
Which optimizer?
================

Figure 2 of the paper on Adam (Kingma and Ba 2014) trains fully connected layers with dropout, its figure 3 a small
convolutional network, with five optimizers each. Here are both, shorter and on images that the program draws.
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
nets = {
    "fully connected": lambda: nn.Sequential(
        *(nn.Flatten(), nn.Dense(128), nn.ReLU(), nn.Dropout(0.2), nn.Dense(10)),
    ),
    "convolutional": lambda: nn.Sequential(
        *(
            nn.Conv2d(16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 5, padding=2),
            nn.ReLU(),
        ),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Dense(64), nn.ReLU(), nn.Dense(10)),
    ),
}
data = fc.data.shapes10("train", size=1500)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
losses = {}
for ax, (net, layers) in zip(axes, nets.items(), strict=True):
    runs = {}
    for name, make in optimizers.items():
        model = layers().build((32, 32, 3), seed=0)
        trainer = fc.Trainer(
            model, fc.losses.SoftmaxCrossEntropy(), make(model.parameters()), seed=0
        )
        runs[name] = trainer.fit(fc.data.DataLoader(data, 50, mean=(0.5,) * 3, std=(0.25,) * 3), 5)
        losses[net, name] = runs[name].history["loss"]
    fc.plot.curves(runs, "loss", ax=ax)
    ax.set_title(net)

# %%
# Which one is ahead depends on the net, the length and the rates; that adaptive ones need less care with the rate is
# what they are for. All of them learn. In the first epoch RMSProp hides Adagrad: it takes in a hundredth of each square
# and forgets little of them in thirty steps, so that with a tenth of Adagrad's rate it does about the same.

for (net, name), values in losses.items():
    print(f"{net:15} {name:14} {values[-1]:.3f}")
    assert values[-1] < 2.25
for net in nets:
    assert abs(losses[net, "Adagrad"][0] / losses[net, "RMSProp"][0] - 1) < 0.02
