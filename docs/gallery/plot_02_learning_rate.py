"""
Learning rates: too small, right, too large
===========================================

Gradient descent goes down the slope of the cost, ``w -= lr * gradient``. The learning rate `lr` says how far. On a
parabola one can see all that can happen.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn

x = np.array([[1.0], [-1.0]])
y = 2 * x  # the cost is (w - 2) ** 2
loss = fc.losses.MeanSquaredError()


def descend(lr, steps=12):
    """Return the weight after each step."""
    model = nn.Sequential(nn.Dense(1, bias=False)).build((1,), dtype=np.float64)
    (weight,) = model.parameters()
    weight.data = np.array([[-0.5]])
    trainer = fc.Trainer(model, loss, fc.optim.SGD(model.parameters(), lr))
    path = [-0.5]
    for _ in range(steps):
        trainer.train_step(x, y)
        path.append(float(weight.data[0, 0]))
    return np.array(path)


rates = {"too small": 0.03, "right": 0.4, "zig-zag": 0.95, "too large": 1.05}
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharey=True)
w = np.linspace(-2.2, 6.2, 200)
paths = {name: descend(lr) for name, lr in rates.items()}
for ax, (name, path) in zip(axes, paths.items(), strict=True):
    ax.plot(w, (w - 2) ** 2, color="0.8")
    ax.plot(path, (path - 2) ** 2, "o-", color=fc.plot.COLOURS[0], markersize=3)
    ax.set(title=f"{name}: {rates[name]}", xlabel="weight", xlim=(-2.2, 6.2), ylim=(-0.5, 17))
axes[0].set_ylabel("cost")

# %%
# Too small a rate creeps; beyond 1, for this parabola, each step lands higher than it began.

final = {name: abs(path[-1] - 2) for name, path in paths.items()}
for name, error in final.items():
    print(f"{name:9} {error:.4f} from the lowest point")

assert np.isclose(paths["right"][1], -0.5 - 0.4 * 2 * (-0.5 - 2))  # w -= lr * gradient
assert final["right"] < 1e-3 < final["too small"]
assert np.sign(paths["zig-zag"][1:5] - 2).tolist() == [1, -1, 1, -1]
assert np.sign(paths["too large"][1:5] - 2).tolist() == [1, -1, 1, -1]
away = {name: np.diff(np.abs(path - 2)) for name, path in paths.items()}
assert (away["too large"] > 0).all()
assert all((away[name] < 0).all() for name in ("too small", "right", "zig-zag"))
