"""
Linear regression and its cost functions
========================================

A model is a guess with numbers in it; a cost function says how wrong the guess is, as one number. Training is the
search for the numbers with the lowest cost. The smallest model is a line, ``y = w x + b``: a dense layer with one input
and one output. The lecture names four costs: the mean squared, the mean absolute and the mean bias error, and the loss
of support vector machines, the hinge.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.plot.axes import line_style

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (40, 1)).astype(np.float32)
y = 0.7 * x + 0.1 + rng.normal(0, 0.1, x.shape).astype(np.float32)
y[:3] += 1.5  # three bad measurements

# %%
# The same line, fitted three times by `Trainer`: what differs is the cost. The squared error is ruled by the three bad
# points, which lift the line; the absolute error and Huber's hardly see them.

losses = {
    "squared error": fc.losses.MeanSquaredError(),
    "absolute error": fc.losses.MeanAbsoluteError(),
    "Huber": fc.losses.Huber(0.5),
}


def fit(loss, steps=800):
    """Return the slope and the height at 0 of the line with the lowest cost, and that cost."""
    line = nn.Sequential(nn.Dense(1)).build((1,), seed=0)
    schedule = fc.optim.schedules.Cosine(0.3, steps)
    trainer = fc.Trainer(
        line, loss, fc.optim.SGD(line.parameters(), 0.3, momentum=0.9), schedule=schedule
    )
    costs = [float(trainer.train_step(x, y)) for _ in range(steps)]
    slope, height = (float(fc.to_numpy(parameter.data).item()) for parameter in line.parameters())
    return slope, height, costs[-1]


fitted = {name: fit(loss) for name, loss in losses.items()}
slopes = np.linspace(-0.5, 2, 101)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
left.plot(x, y, ".", color="0.5")
ends = np.array([-1.0, 1.0])
for number, (name, loss) in enumerate(losses.items()):
    slope, height, lowest = fitted[name]
    style = line_style(number, len(slopes)) | {"marker": ""}
    left.plot(ends, slope * ends + height, **style, label=f"{slope:.2f} x + {height:.2f}: {name}")
    cost = [float(loss(np.float32(each) * x + np.float32(height), y)[0]) for each in slopes]
    right.plot(slopes, cost, **style, label=name)
    right.plot(slope, lowest, "o", color=style["color"])
    assert lowest <= min(cost) + 1e-3, "no other slope costs less"
    print(f"{name:14} {slope:.3f} x + {height:.3f}, cost {lowest:.4f}")
left.set(
    xlabel="x",
    ylabel="y",
    title="0.7 x + 0.1, with three bad points",
    ylim=(-1, 3),
    xticks=np.linspace(-1, 1, 5),
)
right.set(xlabel="slope w of the line", ylabel="cost", title="dots: where training ended")
left.legend(fontsize="small")
right.legend(fontsize="small")

squares = np.linalg.lstsq(np.hstack([x, np.ones_like(x)]), y, rcond=None)[0].ravel()
assert np.allclose(fitted["squared error"][:2], squares, atol=1e-3)  # by the formula, too
away = {
    name: float(np.hypot(slope - 0.7, height - 0.1)) for name, (slope, height, _) in fitted.items()
}
assert max(away["absolute error"], away["Huber"]) < 0.1
assert away["squared error"] > 2 * max(away["absolute error"], away["Huber"])

# %%
# The mean bias error is the mean of the differences with their signs, and errors to both sides cancel. It says whether a
# model guesses too high or too low on the whole: the squared error has none of it left. But a line that falls where the
# points rise has none either, so nothing can be fitted by it. It is a metric here, and refused as a loss.

bias = fc.metrics.MeanBiasError()
lines = {
    "best by squares": squares[0] * x + squares[1],
    "falling, through the middle": y.mean() - 2 * (x - x.mean()),
    "best by squares, 1 too high": squares[0] * x + squares[1] + 1,
}
biases = {name: float(bias(line, y)) for name, line in lines.items()}
costs = {name: float(losses["squared error"](line, y)[0]) for name, line in lines.items()}
for name, value in biases.items():
    print(f"{name:28} bias {abs(value):.3f}, squared error {costs[name]:.3f}")

best, falling, high = lines
assert max(abs(biases[best]), abs(biases[falling])) < 1e-5
assert abs(biases[high] - 1) < 1e-5
assert costs[falling] > 5 * costs[best]
try:
    line = nn.Sequential(nn.Dense(1)).build((1,))
    fc.Trainer(line, bias, fc.optim.SGD(line.parameters(), 0.1))
except fc.errors.ArgumentError as error:
    print(textwrap.fill(str(error), 100))
else:
    raise AssertionError

# %%
# Costs of numbers, by how far a guess is off; and the hinge, the cost of a class: the score of the right class should be
# higher than another's by a margin of 1. From there on it costs nothing, whereas the cross-entropy is never content.

classes = {
    "hinge (SVM)": fc.losses.MulticlassHinge(),
    "hinge, squared": fc.losses.SquaredHinge(),
    "cross-entropy": fc.losses.SoftmaxCrossEntropy(),
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
fc.plot.costs(losses, ax=left)
ahead = np.linspace(-2, 3, 101, dtype=np.float32)
scores = np.stack([ahead, np.zeros_like(ahead)], axis=1)
label = np.array([0])
by_class = {
    name: np.array([float(loss(row[None], label)[0]) for row in scores])
    for name, loss in classes.items()
}
for number, (name, cost) in enumerate(by_class.items()):
    right.plot(ahead, cost, label=name, **line_style(number, len(ahead)))
left.set(title="of a number", xlabel="guess, where 0 is right")
right.set(
    title="of a class",
    xlabel="score of the right class minus the other's",
    ylabel="cost",
    ylim=(-0.2, 6),
)
right.legend(fontsize="small")

assert np.allclose(by_class["hinge (SVM)"], np.maximum(1 - ahead, 0), atol=1e-6)
assert np.allclose(by_class["hinge, squared"], np.maximum(1 - ahead, 0) ** 2, atol=1e-6)
assert np.allclose(by_class["cross-entropy"], np.log1p(np.exp(-ahead)))

# %%
# Two classes that a line can part: trained by the hinge, a dense layer with two outputs comes to a cost of exactly zero,
# and stays where it is, for there is no gradient left.

points = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
points = points[np.abs(points.sum(1)) > 0.3]
classes_of = (points.sum(1) > 0).astype(np.int32)
machine = nn.Sequential(nn.Dense(2)).build((2,), seed=0)
trainer = fc.Trainer(machine, fc.losses.MulticlassHinge(), fc.optim.SGD(machine.parameters(), 1.0))
costs = [float(trainer.train_step(points, classes_of)) for _ in range(1000)]
print(f"hinge: {costs[0]:.3f} at first, 0 after {costs.index(0.0)} steps")
assert costs[0] > 0
assert set(costs[costs.index(0.0) :]) == {0.0}
