"""
Linear regression and four cost functions
=========================================

A model is a guess with numbers in it; a cost function says how wrong the guess is, as one number. Training is the
search for the numbers with the lowest cost. The smallest model is a line, ``y = w x + b``: a dense layer with one input
and one output.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (40, 1))
y = 0.7 * x + 0.1 + rng.normal(0, 0.1, x.shape)
y[:3] += 1.5  # three bad measurements

# %%
# Each cost function has its own opinion of the same line. The squared error is ruled by the three bad points; the
# absolute error and Huber's hardly see them.

losses = {
    "squared error": fc.losses.MeanSquaredError(),
    "absolute error": fc.losses.MeanAbsoluteError(),
    "Huber": fc.losses.Huber(0.5),
}
slopes = np.linspace(-0.5, 2, 101)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
fc.plot.costs(losses, ax=left)
best = {}
for (name, loss), colour in zip(losses.items(), fc.plot.COLOURS, strict=False):
    cost = [float(loss(slope * x + 0.1, y)[0]) for slope in slopes]
    best[name] = slopes[int(np.argmin(cost))]
    right.plot(slopes, cost, color=colour, label=f"{name}: least at {best[name]:.2f}")
right.axvline(0.7, color="0.85", zorder=0)
right.set(xlabel="slope w of the line (0.7 made the data)", ylabel="cost")
right.legend(fontsize="small")

# %%
# The fourth, the mean bias error, is the mean of the differences with their signs: errors to both sides cancel. It says
# whether a model guesses too high or too low, but it has no lowest point, so it is a metric and not a loss.

bias = np.mean(0.7 * x + 0.1 - y)
print(f"mean bias error of the true line: {bias:.3f}")

assert abs(best["absolute error"] - 0.7) <= abs(best["squared error"] - 0.7)
assert abs(best["absolute error"] - 0.7) < 0.1
