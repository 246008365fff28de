"""
Networks as volumes
===================

A convolutional network turns a volume, height x width x channels, into other volumes: maps shrink and channels grow,
until one number for each class is left.
"""

import fastconv as fc

ax = fc.plot.volumes(fc.models.mnist_cnn.unbuilt(), (28, 28, 1))
ax.set_title("Keras' MNIST network")

# %%
# The same for LeNet-5, of 1998, and what each layer costs.

fc.plot.volumes(fc.models.lenet5.unbuilt(), (32, 32, 3)).set_title("LeNet-5")
summary = fc.models.lenet5.unbuilt().summary((32, 32, 3))
print(summary)

shapes = [row.output_shape for row in fc.models.mnist_cnn.unbuilt().summary((28, 28, 1)).rows]
assert (26, 26, 32) in shapes
assert (12, 12, 64) in shapes
assert shapes[-1] == (10,)
maps = [shape for shape in shapes if len(shape) == 3]
assert [shape[0] for shape in maps] == sorted((shape[0] for shape in maps), reverse=True)
assert [shape[2] for shape in maps] == sorted(shape[2] for shape in maps)
assert summary.rows[-1].output_shape == (10,)
