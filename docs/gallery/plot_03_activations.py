"""
Activations and their gradients
===============================

Without a bend between them, two layers are one: a line of a line is a line. The bend is the activation, and its
gradient decides how much of an error reaches the layers in front.
"""

import numpy as np

import fastconv as fc
from fastconv import nn

figure = fc.plot.activations(nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(0.1), nn.GELU(), nn.SiLU())

# %%
# The gradient of the sigmoid is at most 1/4. Behind ten layers of it, at most a millionth of an error is left; ReLU
# hands on all of it where it is open, and nothing where it is closed.

x = np.linspace(-5, 5, 1001)
y = fc.functional.sigmoid(x)
slope = fc.functional.sigmoid_backward(np.ones_like(x), y)
print(f"largest gradient of the sigmoid: {slope.max():.4f}; ten layers: {slope.max() ** 10:.1e}")

assert np.isclose(slope.max(), 0.25)
assert set(np.unique(fc.functional.relu_backward(np.ones_like(x), fc.functional.relu(x)))) == {0.0, 1.0}
