"""
Two layers by hand, and by the library
======================================

The example of the slides: two inputs, three hidden units and one output, with sigmoids. All numbers fit on a sheet of
paper; the library must find the same ones.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

x = np.array([[1.0, 1.0]])
hidden_weights = np.array([[0.8, 0.2, 0.7], [0.6, 0.9, 0.1]])  # a column for each hidden unit
output_weights = np.array([[0.2], [0.8], [0.5]])
target = 0.85


def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


# %%
# Forward, by hand. The slides round after each layer, so their output is sigmoid(1.105).

hidden = sigmoid(x @ hidden_weights)
output = sigmoid(hidden @ output_weights)
print(
    "hidden:", hidden.round(2), " output:", output.round(2), " error:", np.round(target - output, 2)
)

# %%
# Backward, by hand: how half the squared error changes with each weight, by the chain rule from right to left.

through_output = (output - target) * output * (1 - output)
grad_output_weights = hidden.T @ through_output
through_hidden = (through_output @ output_weights.T) * hidden * (1 - hidden)
grad_hidden_weights = x.T @ through_hidden

# %%
# The same by the library: layers, forward with what backward needs kept aside, and backward.

model = nn.Sequential(nn.Dense(3, bias=False), nn.Sigmoid(), nn.Dense(1, bias=False), nn.Sigmoid())
model.build((2,), dtype=np.float64)
model.layers[0].weight.data = hidden_weights
model.layers[2].weight.data = output_weights
y, context = model.forward(fc.asarray(x), training=True)
model.backward(y - target, context)

assert np.allclose(fc.to_numpy(y), output)
assert np.allclose(fc.to_numpy(model.layers[2].weight.grad), grad_output_weights)
assert np.allclose(fc.to_numpy(model.layers[0].weight.grad), grad_hidden_weights)
assert np.array_equal(hidden.round(2), [[0.80, 0.75, 0.69]])
assert np.isclose(hidden.round(2) @ output_weights, 1.105)
assert np.allclose(np.round(sigmoid(1.105), 2), output.round(2))
assert output.round(2) == 0.75
assert np.round(target - output, 2) == 0.1


def half_squared_error(hidden_weights, output_weights):
    """What is differentiated."""
    return (sigmoid(sigmoid(x @ hidden_weights) @ output_weights) - target).item() ** 2 / 2


small = 1e-6  # a weight a little higher, the error a little different
here = half_squared_error(hidden_weights, output_weights)
for place in np.ndindex(2, 3):
    moved = hidden_weights.copy()
    moved[place] += small
    change = (half_squared_error(moved, output_weights) - here) / small
    assert np.isclose(change, grad_hidden_weights[place], rtol=1e-3)
for place in np.ndindex(3, 1):
    moved = output_weights.copy()
    moved[place] += small
    change = (half_squared_error(hidden_weights, moved) - here) / small
    assert np.isclose(change, grad_output_weights[place], rtol=1e-3)

# %%
# One step down the gradient brings the output nearer to the target; a hundred bring it there.

trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), lr=1.0))
outputs = [float(y[0, 0])]
for _ in range(100):
    trainer.train_step(x, np.array([[target]]))
    outputs.append(float(model(x)[0, 0]))
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(outputs, color=fc.plot.COLOURS[0])
ax.axhline(target, color=fc.plot.COLOURS[1], linestyle="--", label="target 0.85")
ax.set(xlabel="step", ylabel="output")
ax.legend()

assert target > outputs[1] > outputs[0]
assert abs(outputs[-1] - target) < 0.005
