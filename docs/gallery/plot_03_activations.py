"""
Activations and their gradients
===============================

Without a bend between them, two layers are one: a line of a line is a line. The bend is the activation, and its
gradient decides how much of an error reaches the layers in front.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

two = nn.Sequential(nn.Dense(5, bias=False), nn.Dense(2, bias=False)).build((3,), seed=0)
first, second = (fc.to_numpy(parameter.data) for parameter in two.parameters())
x = np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)
assert np.allclose(fc.to_numpy(two(x)), x @ (first @ second), atol=1e-5)  # one layer would do

figure = fc.plot.activations(
    nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(0.1), nn.GELU(), nn.SiLU()
)

# %%
# The gradient of the sigmoid is at most 1/4. Behind ten layers of it, at most a millionth of an error is left; ReLU
# hands on all of it where it is open, and nothing where it is closed.

x = np.linspace(-5, 5, 1001)
y = fc.functional.sigmoid(x)
slope = fc.functional.sigmoid_backward(np.ones_like(x), y)
print(f"largest gradient of the sigmoid: {slope.max():.4f}; ten layers: {slope.max() ** 10:.1e}")

assert np.isclose(slope.max(), 0.25)
assert slope.max() ** 10 < 1e-6
open_or_closed = fc.functional.relu_backward(np.ones_like(x), fc.functional.relu(x))
assert set(np.unique(open_or_closed)) == {0.0, 1.0}

# %%
# Maxout has no bend of its own: it takes the largest of several lines that are learned, here of three, and so bends
# where they cross. Its gradient is the slope of the line that is on top.

lines = np.stack([-0.6 * x - 1.5, 0.1 * x, x - 1.0], axis=1)
maxout = nn.Sequential(nn.Maxout(3)).build((3,), np.float64)
y, context = maxout.forward(fc.asarray(lines), training=True)
on_top = fc.to_numpy(maxout.backward(fc.asarray(np.ones((len(x), 1))), context))
slope = on_top @ [-0.6, 0.1, 1.0]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(x, lines, color="0.7", linestyle="dashed")
left.plot(x, fc.to_numpy(y), color=fc.plot.COLOURS[0], linewidth=2)
right.plot(x, slope, color=fc.plot.COLOURS[0], linewidth=2)
left.set(title="Maxout of three lines", xlabel="x", ylabel="y")
right.set(title="gradient", xlabel="x", ylabel="dy / dx")

assert np.allclose(fc.to_numpy(y)[:, 0], lines.max(1))
assert (on_top.sum(1) == 1).all()
assert np.allclose(slope, np.array([-0.6, 0.1, 1.0])[lines.argmax(1)])
