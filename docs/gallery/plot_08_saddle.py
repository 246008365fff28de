"""
Optimizers on a saddle
======================

Begin on the ridge of a saddle, a hair beside its crest: along the ridge it goes down to the middle, and only across it
goes down for good. Whoever follows the slope alone is caught in the middle for long, since there is hardly any.
"""

import numpy as np

import fastconv as fc


def height(x, y):
    """Return the height of a saddle that falls along y."""
    return x**2 - y**2


def slopes(x, y):
    """Return its two derivatives."""
    return 2 * x, -2 * y


optimizers = {
    "SGD": lambda p: fc.optim.SGD(p, 0.02),
    "momentum": lambda p: fc.optim.SGD(p, 0.02, momentum=0.9),
    "Adagrad": lambda p: fc.optim.Adagrad(p, 0.05),
    "RMSProp": lambda p: fc.optim.RMSProp(p, 0.02),
    "Adadelta": lambda p: fc.optim.Adadelta(p, 20.0),
    "Adam": lambda p: fc.optim.Adam(p, 0.05),
}
paths = {name: fc.plot.descend(slopes, make, (1.0, 1e-3), 150) for name, make in optimizers.items()}
where = {"x": (-0.6, 1.1), "y": (-0.2, 1.2)}
shown = {name: np.clip(path, -3, 3) for name, path in paths.items()}
ax = fc.plot.surface(height, shown, **where)

# %%
# The same, moving.

film = fc.plot.animate_surface(height, shown, **where, frames=40)

# %%
# When does each leave the ridge, that is, go beyond a tenth across it?

left = {name: int(np.argmax(np.abs(path[:, 1]) > 0.1)) or 151 for name, path in paths.items()}
for name, step in left.items():
    print(f"{name:9} {f'step {step}' if step < 151 else 'not in 150 steps'}")

# %%
# Rules that divide by the size of past gradients, each direction for itself, take the small slope across for as good as
# the large one along, and leave first.

dividing = [left[name] for name in ("Adagrad", "RMSProp", "Adadelta", "Adam")]
assert max(dividing) < min(left["momentum"], left["SGD"])
assert left["momentum"] < left["SGD"]
slowest = int(np.argmin(np.abs(paths["SGD"][:, 0]) > 0.05))  # SGD has come to the middle
assert left["SGD"] > slowest + 20
