"""
Why softmax
===========

The last layer puts out any numbers, the *logits*. Softmax makes chances of them: all above zero, in sum one, and only
differences count. Together with the cross-entropy its gradient is as simple as can be: what was said minus what is so.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

logits = np.array([[2.0, 1.0, -1.0, 0.5]])
loss = fc.losses.SoftmaxCrossEntropy()
value, gradient = loss(logits, np.array([1]))
chances = np.exp(logits) / np.exp(logits).sum()
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
for ax, (name, numbers) in zip(
    axes,
    {
        "logits": logits,
        "chances": chances,
        "gradient (class 1 is true)": fc.to_numpy(gradient),
    }.items(),
    strict=True,
):
    ax.bar(range(4), numbers[0], color=fc.plot.COLOURS[0])
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(title=name, xlabel="class", xticks=range(4))

# %%
# An untrained network says 1 in 10 for each of ten classes, so its loss is ln 10 = 2.303: a number worth knowing, for a
# first epoch that starts elsewhere has a fault.

untrained = float(loss(np.zeros((5, 10)), np.arange(5))[0])
print(f"loss {float(value):.4f}; untrained, ten classes: {untrained:.4f}")

assert np.allclose(fc.to_numpy(gradient), chances - np.eye(4)[1])
assert (chances > 0).all()
assert np.isclose(chances.sum(), 1)
assert np.isclose(untrained, np.log(10))
assert np.isclose(float(loss(logits + 100, np.array([1]))[0]), float(value))
