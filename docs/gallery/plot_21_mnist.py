"""
Keras' MNIST net: twelve epochs
===============================

The lecture's notebook trains the network of Keras' example for MNIST, 1,199,882 parameters, for twelve epochs of 60,000
images, and asks "How fast did you say?": 23.08 minutes on its author's CPU, 1.87 on a GPU (Tesla K80). Here is the same
training on two cores, by the library and by PyTorch, measured by::

    python -m benchmarks.trained mnist_cnn --data-dir DIR --torch

on Fashion-MNIST, whose images are as many and as large: times can be compared, accuracies (99.2 % on MNIST) cannot.
"""

import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

PUBLISHED = {"notebook, CPU": 23.08, "notebook, GPU (K80)": 1.87}  # minutes
NAMES = {
    "fastconv_summary": "fastconv",
    "fastconv_strict_summary": "fastconv, strict float32",
    "fastconv_fast_summary": "fastconv, bfloat16",
    "torch_summary": "PyTorch",
}
path = Path(fc.__file__).resolve().parents[1] / "benchmarks" / "results" / "trained-mnist_cnn.json"
stored = json.loads(path.read_text()) if path.exists() else {}
summaries = {label: stored[key] for key, label in NAMES.items() if key in stored}
minutes = PUBLISHED | {label: each["seconds"] / 60 for label, each in summaries.items()}

# %%
# And on the machine that made this page? The fastest of a dozen steps of 128 images tells what twelve epochs would take
# without others beside.

model = fc.models.mnist_cnn(seed=0)
optimizer = fc.optim.Adadelta(model.parameters(), 1.0, rho=0.95, eps=1e-7)
trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)
random = np.random.default_rng(0)
x = fc.asarray(random.standard_normal((128, 28, 28, 1), dtype=np.float32))
y = fc.asarray(random.integers(0, 10, 128).astype(np.int32))
times = []
for _ in range(14):
    begin = time.perf_counter()
    float(trainer.train_step(x, y))
    times.append(time.perf_counter() - begin)
steps = 12 * -(-60_000 // 128)
here = steps * min(times[2:]) / 60
threads = fc.get_backend().num_threads
minutes[f"fastconv, from a step here, {threads} threads"] = here

figure, ax = plt.subplots(figsize=(8, 0.5 + 0.45 * len(minutes)), layout="constrained")
colours = [
    fc.plot.COLOURS[0 if "fastconv" in name else 1 if name == "PyTorch" else 3] for name in minutes
]
bars = ax.barh(list(minutes), list(minutes.values()), color=colours)
ax.bar_label(bars, fmt="%.2f", padding=3)
ax.invert_yaxis()
ax.set(xlabel="minutes for 12 epochs", xlim=(0, 1.12 * max(minutes.values())))

# %%
# The network has what the notebook's has, and its time is that of training alone, without the images that it is tested
# on in between.

for label, each in summaries.items():
    reached = f"{each['accuracy_mean']:.2%} on Fashion-MNIST"
    runs = "one run" if len(stored["runs"]) == 1 else f"mean of {len(stored['runs'])} runs"
    print(f"{label}: {reached}, {each['seconds']:.0f} s, {runs}")
if stored:
    facts = stored["runs"][-1]["environment"]
    host = facts["facts"].get("name", "?")
    print(f"measured on {stored['runs'][-1]['date']} on {host}, {facts['threads']} threads")
print(f"one step here: {1000 * min(times[2:]):.0f} ms")
assert model.summary((28, 28, 1)).parameters == 1_199_882
assert steps == 5628
if summaries:
    assert minutes["fastconv"] < PUBLISHED["notebook, CPU"]
    assert min(value for name, value in minutes.items() if name in NAMES.values()) < minutes.get(
        "PyTorch", 1e9
    )
