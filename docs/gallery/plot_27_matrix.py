"""
An image is a matrix of numbers
===============================

To a network a picture is what a spreadsheet would show: a number for each pixel, or three.
"""

import numpy as np

import fastconv as fc

data = fc.data.shapes10("test", size=20)
image = data.images[4, 2:30, 2:30].mean(-1).astype(int)
ax = fc.plot.matrix(image)

# %%
# What it shows is one number more: the class, or, as the network is asked for it, a row of ten with a single one.

label = int(data.labels[4])
print(data.class_names[label], np.eye(10, dtype=int)[label])
assert data.images.shape == (20, 32, 32, 3)
assert (np.eye(10, dtype=int)[label] == 1).sum() == 1
assert image.min() >= 0
assert image.max() <= 255
