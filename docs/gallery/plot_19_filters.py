"""
Filters and feature maps
========================

The kernels of a trained network are found, not written. Those of the first layer can be looked at; of the others, what
they answer.
"""

import numpy as np

import fastconv as fc
from fastconv import nn

model = nn.Sequential(
    *(nn.Conv2d(16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Dense(10)),
).build((32, 32, 3), seed=0)
before = fc.to_numpy(model.layers[0].weight.data).copy()
train = fc.data.DataLoader(
    fc.data.shapes10("train", size=2000), 64, mean=(0.5,) * 3, std=(0.25,) * 3
)
trainer = fc.Trainer(
    model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 3e-3)
)
history = trainer.fit(train, 3)
figure = fc.plot.filters(model.layers[0])
figure.suptitle("16 filters of the first layer")

# %%
# What the layers make of one image, the first eight channels each.

image = (fc.data.shapes10("test", size=20).images[4] / 255 - 0.5) / 0.25
figure = fc.plot.feature_maps(model, image)

after = fc.to_numpy(model.layers[0].weight.data)
print(f"loss {history.history['loss'][0]:.2f} -> {history.history['loss'][-1]:.2f}")
assert history.history["loss"][-1] < history.history["loss"][0]
assert np.abs(after - before).max() > 0.01
