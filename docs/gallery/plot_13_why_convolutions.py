"""
Why convolutions
================

A photograph of 200 x 200 pixels in three colours is 120,000 numbers. A fully connected unit has a weight for each of
them; a convolution has one small kernel that looks everywhere.
"""

import matplotlib.pyplot as plt

import fastconv as fc
from fastconv import nn

shape = (200, 200, 3)
layers = {
    "one dense unit": nn.Sequential(nn.Flatten(), nn.Dense(1, bias=False)),
    "32 dense units": nn.Sequential(nn.Flatten(), nn.Dense(32, bias=False)),
    "32 kernels of 3 x 3": nn.Sequential(nn.Conv2d(32, 3, bias=False)),
    "32 kernels of 5 x 5": nn.Sequential(nn.Conv2d(32, 5, bias=False)),
}
weights = {name: layer.summary(shape).parameters for name, layer in layers.items()}
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
bars = ax.barh(list(weights), list(weights.values()), color=fc.plot.COLOURS[0])
ax.bar_label(bars, [f"{count:,}" for count in weights.values()], padding=3)
ax.set(xscale="log", xlabel="weights", xlim=(100, 1e8))
ax.invert_yaxis()

# %%
# Fewer weights are not less work: the kernel is used at every pixel.

for name, layer in layers.items():
    print(f"{name:20} {layer.summary(shape).macs:>12,} multiplications an image")

assert weights["one dense unit"] == 120_000
assert weights["32 kernels of 3 x 3"] == 3 * 3 * 3 * 32
macs = {name: layer.summary(shape).macs for name, layer in layers.items()}
assert macs["one dense unit"] == 120_000
assert macs["32 kernels of 3 x 3"] > macs["32 dense units"]
