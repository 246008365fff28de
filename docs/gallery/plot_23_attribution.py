"""
What did the network look at?
=============================

Two answers. The gradient of a class with respect to the image says which pixels it would take to change it; multiplied
by the image, which pixels speak for it. Occlusion asks differently: cover a part, and see how much is lost.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

model = nn.Sequential(
    *(nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Dense(64), nn.ReLU(), nn.Dense(10)),
).build((32, 32, 3), seed=0)
mean, std = (0.5,) * 3, (0.25,) * 3
train = fc.data.DataLoader(fc.data.shapes10("train", size=5000), 64, mean=mean, std=std)
fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 2e-3)).fit(train, 4)
test = fc.data.shapes10("test", size=200)
x = ((test.images / 255 - 0.5) / 0.25).astype(np.float32)
logits = fc.to_numpy(model(x))
right = np.flatnonzero(logits.argmax(1) == test.labels)[:5]


def gradient_times_input(image, label):
    """Return the sum over colours of gradient times input."""
    batch = fc.asarray(np.repeat(image[None], 2, 0))
    y, context = model.forward(batch, training=True)
    wanted = np.zeros(y.shape, np.float32)
    wanted[:, label] = 1
    return (fc.to_numpy(model.backward(fc.asarray(wanted), context))[0] * image).sum(-1)


def occlusion(image, label, size=8, step=4):
    """Return how much the class loses when a grey square covers a place."""
    places = range(0, 32 - size + 1, step)
    covered = np.repeat(image[None], len(places) ** 2, 0)
    for number, (row, column) in enumerate((r, c) for r in places for c in places):
        covered[number, row : row + size, column : column + size] = 0
    lost = float(fc.to_numpy(model(image[None]))[0, label]) - fc.to_numpy(model(covered))[:, label]
    return lost.reshape(len(places), len(places))


figure, axes = plt.subplots(3, len(right), figsize=(1.7 * len(right), 5.2), layout="constrained", squeeze=False)
for column, number in enumerate(right):
    label = int(test.labels[number])
    pictures = (test.images[number], gradient_times_input(x[number], label), occlusion(x[number], label))
    for ax, picture in zip(axes[:, column], pictures, strict=True):
        limit = None if picture.ndim == 3 else np.abs(picture).max()
        ax.imshow(picture, cmap="PuOr_r", vmin=None if limit is None else -limit, vmax=limit)
        ax.set_axis_off()
    axes[0, column].set_title(test.class_names[label], fontsize=9)

# %%
# Orange speaks for the class. The rows: the image, gradient times input, and what is lost by occlusion.

accuracy = float((logits.argmax(1) == test.labels).mean())
print(f"{accuracy:.2f} of the test images are right")
assert len(right) == 5
losses = [occlusion(x[number], int(test.labels[number])) for number in right]
assert np.mean([loss.max() for loss in losses]) > 0
