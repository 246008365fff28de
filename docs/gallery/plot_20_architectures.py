"""
LeNet, AlexNet, VGG, GoogLeNet, ResNet side by side
===================================================

Twenty years of networks differ in what they spend: weights, which take memory, and multiplications, which take time.
All are here, for images of 32 x 32 pixels. What they reach is in the results that long runs left, where there are any::

    python -m benchmarks.trained resnet20 --data-dir DIR
"""

import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

names = (
    "lenet5",
    "keras_cnn",
    "vgg16",
    "googlenet",
    "resnet20",
    "resnet18",
    "mobilenet",
    "resnet9",
)
summaries = {name: getattr(fc.models, name).unbuilt().summary((32, 32, 3)) for name in names}
milliseconds = {}
for name in names:
    model = getattr(fc.models, name)(seed=0)
    x = fc.asarray(np.zeros((8, 32, 32, 3), np.float32))
    plan = model.compile(x.shape)
    plan(x)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        fc.to_numpy(plan(x))
        times.append(time.perf_counter() - begin)
    milliseconds[name] = 1000 * min(times) / 8
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for number, name in enumerate(names):
    summary = summaries[name]
    area = 40 + 30 * milliseconds[name] ** 0.5 * 5
    beside = 3 + (area / np.pi) ** 0.5  # of the disc, in points
    ax.scatter(
        summary.parameters,
        summary.macs,
        area,
        color=fc.plot.COLOURS[number % len(fc.plot.COLOURS)],
        alpha=0.7,
    )
    on_the_left = name in ("resnet9", "googlenet")  # where others stand to the right
    ax.annotate(
        *(name, (summary.parameters, summary.macs)),
        xytext=(-beside if on_the_left else beside, -3),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        fontsize=8,
    )
ax.set(
    xscale="log",
    yscale="log",
    xlabel="parameters",
    ylabel="multiplications an image",
    ylim=(3e5, 5e9),
)
ax.set_xlim(3e4, 8e7)
ax.set_title("area: time of an image in a batch of eight", fontsize=9)

# %%
# The accuracies are those of the test images of CIFAR-10 after the epochs that stand beside them.

results = Path(fc.__file__).resolve().parents[1] / "benchmarks" / "results"
reached = {}
for name in names:
    path, summary = results / f"trained-{name}.json", summaries[name]
    if path.exists():
        stored = json.loads(path.read_text())
        accuracies = [run["fastconv"]["val_accuracy"] for run in stored["runs"]]
        reached[name] = np.mean([each[-1] for each in accuracies])
        said = f"{reached[name]:.1%} in {len(accuracies[0])} epochs"
    print(f"{name:10} {summary.parameters:>12,} parameters {summary.macs:>12,} MACs", end=" ")
    print(f"{milliseconds[name]:8.3f} ms an image {said if name in reached else ''}")

assert summaries["vgg16"].parameters > 50 * summaries["resnet20"].parameters
assert summaries["mobilenet"].macs < summaries["vgg16"].macs / 6
assert all(accuracy > 0.5 for accuracy in reached.values())
assert summaries["resnet20"].parameters < summaries["keras_cnn"].parameters / 4
