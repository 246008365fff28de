"""
Activations and their gradients
===============================

What stands between two layers decides how much of a gradient comes through. Sigmoid and tanh pass on little where they
are flat; ReLU passes on all of it, or nothing.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

F = fc.functional
x = np.linspace(-5, 5, 401, dtype=np.float32)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name in ("sigmoid", "tanh", "relu", "leaky_relu", "gelu"):
    y = getattr(F, name)(x)
    gradient = getattr(F, f"{name}_backward")(np.ones_like(x), y if name in ("sigmoid", "tanh", "relu") else x)
    left.plot(x, y, label=name)
    right.plot(x, gradient)
left.set(title="y = f(x)", xlabel="x", ylim=(-1.2, 3))
right.set(title="its gradient", xlabel="x")
left.legend()
