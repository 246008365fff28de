"""
Optimizers on a surface
=======================

A long, bent valley, Beale's function: steep walls, a flat floor, the lowest point at (3, 0.5), where the star is. Six
optimizers follow the same slopes; what differs is what each remembers of earlier ones.
"""

import numpy as np

import fastconv as fc


def height(x, y):
    """Beale's function; its logarithm is drawn."""
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def slopes(x, y):
    """Return its two derivatives."""
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    along_x = 2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)
    return along_x, 2 * a * x + 4 * b * x * y + 6 * c * x * y**2


optimizers = {
    "SGD": lambda p: fc.optim.SGD(p, 0.01),
    "momentum": lambda p: fc.optim.SGD(p, 0.01, momentum=0.9),
    "Nesterov": lambda p: fc.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: fc.optim.Adagrad(p, 0.5),
    "RMSProp": lambda p: fc.optim.RMSProp(p, 0.03),
    "Adam": lambda p: fc.optim.Adam(p, 0.1),
}
paths = {name: fc.plot.descend(slopes, make, (1.0, 1.2), 120) for name, make in optimizers.items()}
where = {"x": (-0.5, 4.5), "y": (-1.5, 2.0)}
ax = fc.plot.surface(lambda x, y: np.log1p(height(x, y)), paths, **where)
ax.plot(3, 0.5, "k*", markersize=12)

# %%
# The same, moving.

film = fc.plot.animate_surface(lambda x, y: np.log1p(height(x, y)), paths, **where, frames=40)

# %%
# Plain gradient descent is slow on the flat floor, where gradients are small; who remembers, keeps going.

far = {name: float(np.linalg.norm(path[-1] - (3, 0.5))) for name, path in paths.items()}
for name, distance in far.items():
    print(f"{name:9} {distance:.3f} from the lowest point")
assert height(3, 0.5) == 0
assert slopes(3, 0.5) == (0, 0)
assert min(far, key=far.get) != "SGD"
assert far["momentum"] < far["SGD"]
assert all(height(*path[-1]) < height(1.0, 1.2) for path in paths.values())
