"""
Images of any size
==================

A dense layer has a weight for each pixel of the map before it, so its image size is fixed. With a global pooling in
between, the same weights take images of any size.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

model = nn.Sequential(
    *(nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(64, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Dense(10)),
).build((32, 32, 3), seed=0)
train = fc.data.DataLoader(
    fc.data.shapes10("train", size=4000), 64, mean=(0.5,) * 3, std=(0.25,) * 3
)
trainer = fc.Trainer(
    model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 5e-3)
)
trainer.fit(train, 4)

test = fc.data.shapes10("test", size=500)
images = ((test.images / 255 - 0.5) / 0.25).astype(np.float32)
accuracy = {}
for border in (0, 4, 8, 16):
    padded = np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)), mode="edge")
    predicted = fc.to_numpy(model(padded)).argmax(1)
    accuracy[32 + 2 * border] = float((predicted == test.labels).mean())
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(
    [str(size) for size in accuracy],
    [100 * share for share in accuracy.values()],
    "o-",
    color=fc.plot.COLOURS[0],
)
ax.axhline(10, color="0.7", linestyle="--", label="guessing")
ax.set(xlabel="height and width of the image", ylabel="accuracy (%)", ylim=(0, 100))
ax.legend()

# %%
# It was trained on 32 x 32 only. Larger borders mean that the figure fills less of the picture, which it never saw.

print(accuracy)
assert accuracy[32] > 0.25  # a guess is right once in ten
assert accuracy[32] > accuracy[64] + 0.1
try:
    fc.models.lenet5()(np.zeros((1, 40, 40, 3), np.float32))
except fc.errors.ShapeError as error:
    print(textwrap.fill(f"LeNet-5, with dense layers: {error}", 100))
else:
    raise AssertionError
