"""
Why kernels are odd
===================

A kernel of 3 x 3 has a pixel in the middle: what it finds there it can write there. One of 2 x 2 or 4 x 4 has none, so
its result sits half a pixel beside what it saw, and layers of it drift.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

F = fc.functional
image = np.zeros((1, 21, 21, 1))
image[0, 10, 10, 0] = 1


def blur(size, times=4):
    """Average over size x size pixels, several times, with as many pixels out as in."""
    y = image
    for _ in range(times):
        y = F.conv2d(y, np.full((size, size, 1, 1), 1 / size**2), padding="same")
    return fc.to_numpy(y)[0, :, :, 0]


figure, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")


def centre(y):
    """Return the row and the column of the middle of what is lit."""
    return np.array([float((each * y).sum() / y.sum()) for each in np.mgrid[:21, :21]])


centres = {}
for ax, size in zip(axes, (2, 3, 4), strict=True):
    y = blur(size)
    centres[size] = centre(y)
    ax.imshow(y, cmap="viridis")
    ax.plot(10, 10, "w+", markersize=12)
    ax.plot(*centres[size][::-1], "rx", markersize=10)
    ax.set(title=f"4 times {size} x {size}", xticks=[], yticks=[])

# %%
# White: the pixel that was lit. Red: the middle of what became of it, two pixels away for even kernels.

print({size: tuple(map(float, place.round(3))) for size, place in centres.items()})
for times in range(1, 5):  # half a pixel more with each layer
    for size, drift in {2: 0.5, 3: 0, 4: 0.5}.items():
        assert np.allclose(np.abs(centre(blur(size, times)) - 10), times * drift)
