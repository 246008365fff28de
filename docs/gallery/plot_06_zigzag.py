"""
Why sigmoids zig-zag
====================

What a sigmoid puts out is above zero. So all weights of the unit behind it get gradients of one sign, and can only rise
together or fall together: to go right *and* down, the path has to zig-zag. Tanh is centred on zero.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.plot.axes import line_style

rng = np.random.default_rng(1)
goal = np.array([[1.0], [-1.0]])


def path(inputs, lr, steps=60):
    """Return the two weights of a unit after each step, one sample a step."""
    model = nn.Sequential(nn.Dense(1, bias=False)).build((2,), dtype=np.float64)
    model.layers[0].weight.data = np.array([[-0.8], [0.8]])
    trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), lr))
    points = [fc.to_numpy(model.layers[0].weight.data).ravel().copy()]
    for step in range(steps):
        x = inputs[step % len(inputs)][None]
        trainer.train_step(x, x @ goal)
        points.append(fc.to_numpy(model.layers[0].weight.data).ravel().copy())
    return np.array(points)


raw = rng.normal(0, 2, (60, 2))
paths = {
    "behind sigmoid": path(fc.functional.sigmoid(raw), 0.5),
    "behind tanh": path(fc.functional.tanh(raw), 0.5),
}
figure, ax = plt.subplots(figsize=(4.5, 4), layout="constrained")
for number, (name, points) in enumerate(paths.items()):
    style = line_style(number, len(points)) | {"markevery": 1}
    ax.plot(*points.T, **style, label=name, linewidth=0.8)
ax.plot(*goal.ravel(), "k*", markersize=12)
ax.set(xlabel="first weight", ylabel="second weight", aspect="equal")
ax.legend(fontsize="small")

# %%
# Both weights move the same way in every step behind a sigmoid; the star lies across that direction.

moves = {name: np.sign(np.diff(points, axis=0)).prod(1) for name, points in paths.items()}
far = {name: float(np.linalg.norm(points[-1] - goal.ravel())) for name, points in paths.items()}
print({name: f"{error:.2f} from the goal" for name, error in far.items()})

assert (fc.functional.sigmoid(raw) > 0).all()
assert (moves["behind sigmoid"] >= 0).all()
assert set(np.sign(np.diff(paths["behind sigmoid"][:, 0]))) >= {1.0, -1.0}  # to and fro
assert (moves["behind tanh"] < 0).any()
assert far["behind tanh"] < far["behind sigmoid"]
