"""
Which layers are slow, and could they be faster?
================================================

A layer either computes or waits for memory. The roofline says which: across stands how much is computed for each byte
that is moved, upwards how much in a second, and the roof is the machine's. What lies on the slope waits for memory, and
no better arithmetic helps; what lies below the flat part could compute more. Multiplications are counted as a direct
convolution does them; Winograd needs fewer, so that what it computes may lie above the roof. Each point of a forward
computation has the number of its first layer.
"""

import numpy as np

import fastconv as fc

look = fc.training.diagnostics
model = fc.models.keras_cnn(seed=0)
x = np.random.default_rng(0).standard_normal((32, 32, 32, 3)).astype(np.float32)
profile = look.profile_layers(model, x, repeats=3)
ax = fc.plot.roofline(profile)
ax.set_title("Keras' CIFAR-10 net, 32 images", fontsize=9)

# %%
# The same in numbers; ``fastconv profile keras_cnn`` prints them too.

print(profile)


def intensity(row):
    """Return multiplications and additions for each byte, forward."""
    return 2 * row.forward_macs / row.forward_bytes


convolutions = [row for row in profile.rows if row.kinds[0] == "Conv2d"]
dense = [row for row in profile.rows if row.kinds[0] == "Dense"]
assert len(ax.get_lines()[1].get_xdata()) == len(convolutions) + len(dense)
assert max(map(intensity, convolutions)) > 3 * max(map(intensity, dense))
