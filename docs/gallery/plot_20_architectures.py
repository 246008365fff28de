"""
LeNet, AlexNet, VGG, GoogLeNet, ResNet side by side
===================================================

Twenty years of networks differ in what they spend: weights, which take memory, and multiplications, which take time.
All are here, in the form for images of 32 x 32 pixels. What they reach stands beside what was published: after a short
training, the same for each, once over 3,000 images of CIFAR-10, and where there is one after a long training, by::

    python -m benchmarks.architectures --data-dir DIR
    python -m benchmarks.trained resnet20 --data-dir DIR

In the forms for ImageNet their papers tell of errors among the five best answers of 15.3 % (AlexNet, 2012, seven
networks together), 7.3 % (VGG, 2014, seven), 6.67 % (GoogLeNet, 2014, seven) and 3.57 % (ResNet, 2015, six); LeNet-5 of
1998 was made for digits, and was wrong about 0.95 % of MNIST's.
"""

import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

LECTURE = ("lenet5", "alexnet", "vgg16", "googlenet", "resnet20")
names = (*LECTURE, "resnet18", "keras_cnn", "mobilenet", "resnet9")
# After a whole training on CIFAR-10, of the same form: AlexNet in
# https://github.com/bearpaw/pytorch-classification, VGG-16 and ResNet-18 in
# https://github.com/kuangliu/pytorch-cifar, ResNet-20 in He et al. 2015, Keras' example.
PUBLISHED = {
    "alexnet": 0.7722,
    "vgg16": 0.9264,
    "resnet20": 0.9125,
    "resnet18": 0.9302,
    "keras_cnn": 0.79,
}
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

# %%
# Accuracies are of test images: after the short training of the first 3,000, after a long one of all 10,000.

results = Path(fc.__file__).resolve().parents[1] / "benchmarks" / "results"
stored = results / "architectures.json"
runs = json.loads(stored.read_text())["runs"] if stored.exists() else {}
short = {name: runs[name]["0"]["val_accuracy"][-1] for name in names if name in runs}
long, epochs = {}, {}
for name in names:
    path = results / f"trained-{name}.json"
    if path.exists():
        accuracies = [
            run["fastconv"]["val_accuracy"] for run in json.loads(path.read_text())["runs"]
        ]
        long[name], epochs[name] = np.mean([each[-1] for each in accuracies]), len(accuracies[0])


def percent(accuracies, name):
    """Return an accuracy as a text of six signs."""
    return f"{accuracies[name]:6.1%}" if name in accuracies else "     -"


print("           parameters  multiplications  ms an image   short    long           published")
for name in names:
    summary = summaries[name]
    print(
        f"{name:10} {summary.parameters:10,}  {summary.macs:15,}  {milliseconds[name]:11.3f}",
        end="  ",
    )
    print(percent(short, name), "", percent(long, name), end=" ")
    print(f"{f'({epochs[name]} epochs)' if name in epochs else '':11} {percent(PUBLISHED, name)}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for number, name in enumerate(names):
    summary = summaries[name]
    area = 40 + 30 * milliseconds[name] ** 0.5 * 5
    beside = 3 + (area / np.pi) ** 0.5  # of the disc, in points
    left.scatter(
        summary.parameters,
        summary.macs,
        area,
        color=fc.plot.COLOURS[number % len(fc.plot.COLOURS)],
        alpha=0.7,
    )
    on_the_left = name in ("resnet9", "googlenet", "keras_cnn")  # where others stand to the right
    left.annotate(
        *(name, (summary.parameters, summary.macs)),
        xytext=(-beside if on_the_left else beside, -3),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        fontsize=8,
    )
left.set(
    xscale="log",
    yscale="log",
    xlabel="parameters",
    ylabel="multiplications an image",
    ylim=(3e5, 5e9),
)
left.set_xlim(3e4, 8e7)
left.set_title("area: time of an image in a batch of eight", fontsize=9)
for label, reached, marker, colour in (
    ("ours, once over 3,000 images", short, "o", fc.plot.COLOURS[0]),
    ("ours, long", long, "s", fc.plot.COLOURS[0]),
    ("published, long", PUBLISHED, "D", fc.plot.COLOURS[1]),
):
    places = [names.index(name) for name in reached]
    right.plot([100 * each for each in reached.values()], places, marker, color=colour, label=label)
right.set(yticks=range(len(names)), xlim=(0, 100), xlabel="accuracy on CIFAR-10 (%)")
right.set_yticklabels(names)
right.invert_yaxis()
right.axvline(10, color="0.7", linestyle="--", label="guessing")
right.grid(axis="y", color="0.93")
right.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2)

# %%
# More is not better: ResNet-20 has the fewest weights but for LeNet-5, and after the short training it is far ahead of
# VGG-16 with 54 times as many. GoogLeNet, no worse, spends 37 times as many multiplications on an image. AlexNet,
# in which nothing is normalised, has hardly begun. Long trainings end in another order: VGG-16 passes ResNet-20.

assert [f"{summaries[name].parameters:,}" for name in LECTURE] == [
    *("62,006", "2,472,266", "14,728,266", "6,166,250", "269,722"),
]
assert 54 < summaries["vgg16"].parameters / summaries["resnet20"].parameters < 55
assert sorted(names, key=lambda name: summaries[name].parameters)[:2] == ["lenet5", "resnet20"]
assert summaries["mobilenet"].macs < summaries["vgg16"].macs / 6
assert 37 < summaries["googlenet"].macs / summaries["resnet20"].macs < 38
assert max(names, key=lambda name: summaries[name].macs) == "googlenet"
assert all(accuracy > 0.5 for accuracy in long.values())
assert abs(long.get("resnet20", 0.9125) - PUBLISHED["resnet20"]) < 0.01
if short:
    assert set(short) == set(names)
    assert all(0.15 < accuracy < 0.5 for accuracy in short.values())
    assert short["resnet20"] > short["vgg16"] + 0.1
    assert abs(short["googlenet"] - short["resnet20"]) < 0.03
    assert min(short, key=short.get) == "alexnet"
    assert PUBLISHED["vgg16"] > PUBLISHED["resnet20"]
