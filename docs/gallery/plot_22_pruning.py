"""
Pruning: most weights can go
============================

The smallest weights of a network matter least. If they are set to zero while it trains, more and more of them, the
others make up for it. TensorFlow's CIFAR-10 sample published a table of it, with two cells left empty; the last picture
fills them, at our length of training.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastconv as fc

train, test = (fc.data.shapes10(part, size=size) for part, size in (("train", 512), ("test", 300)))
EPOCHS, STEPS = 12, 12 * 16


def run(target, scope="layer"):
    """Train a LeNet, pruned to this share from the second epoch to two thirds of the run."""
    model = fc.models.lenet5(seed=0)
    optimizer = fc.optim.Adam(model.parameters(), 3e-3)
    if target:
        optimizer = fc.optim.Pruning(
            optimizer, STEPS * 2 // 3, target=target, begin=16, frequency=8, scope=scope
        )
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)
    history = trainer.fit(
        fc.data.DataLoader(train, 32), EPOCHS, fc.data.DataLoader(test, 100, shuffle=False)
    )
    return model, history


shares = (0.0, 0.5, 0.9, 0.98)
models, histories = zip(*(run(share) for share in shares), strict=True)
_, together = run(0.9, "global")

# %%
# The share of zeros rises fast at first, when there is much that nobody misses, and then slower and slower: the cube of
# what is left of the way. On the right all weights are ranked together: small layers with large weights keep more.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for ax, history, title in zip(
    axes, (histories[2], together), ("each layer 90 %", "90 % of all"), strict=True
):
    fc.plot.sparsity(history, ax=ax)
    ax.set_title(title)

# %%
# What it costs: nothing much for a long way, then a lot.

accuracy = {
    share: history.history["val_accuracy"][-1]
    for share, history in zip(shares, histories, strict=True)
}
ax = fc.plot.sparsity_accuracy({"LeNet on shapes10": accuracy})
print({f"{share:.0%}": f"{value:.1%}" for share, value in accuracy.items()})

# %%
# A pruned weight is exactly zero, and the file is as small as the network is sparse.

print(models[2].summary())
weights = [fc.to_numpy(p.data) for p in models[2].parameters() if len(p.shape) > 1]
zeros = sum(np.count_nonzero(weight == 0) for weight in weights) / sum(
    weight.size for weight in weights
)
print(f"{zeros:.2%} of the weights are zero")

# %%
# The sample itself: the network of TensorFlow's tutorial on CIFAR-10. ``python -m benchmarks.pruning --data-dir DIR``
# trains it for 20,000 steps at each share; the published runs took 150,000. Where its results are stored, they stand
# here beside the published table.

PUBLISHED = {0.0: 0.86, 0.5: 0.86, 0.95: 0.77}  # 75 and 90 %: TODO
stored = Path(fc.__file__).resolve().parents[1] / "benchmarks" / "results" / "pruning.json"
results = {"published, 150,000 steps": PUBLISHED}
if stored.exists():
    report = json.loads(stored.read_text())
    told = {float(share): accuracy for share, accuracy in report["published"].items()}
    assert told == PUBLISHED | {0.75: None, 0.9: None}
    for steps in sorted({each["steps"] for each in report["runs"]}):
        found = [each for each in report["runs"] if each["steps"] == steps]
        ours = {
            s: [e["curve"]["accuracy"][-1] for e in found if e["sparsity"] == s]
            for s in {e["sparsity"] for e in found}
        }
        results[f"ours, {steps:,} steps"] = ours
        for share in sorted(ours):
            published = f"{PUBLISHED[share]:.0%}" if share in PUBLISHED else "TODO"
            count = len(ours[share])
            reached = f"{np.mean(ours[share]):.1%}, " + (
                "one run" if count == 1 else f"mean of {count} runs"
            )
            print(f"{share:>5.0%}  published {published:>5}  ours {reached}")
ax = fc.plot.sparsity_accuracy(results)
ax.set_title("TensorFlow's CIFAR-10 sample")

# %%
for share, history in zip(shares[1:], histories[1:], strict=True):
    told = history.history["sparsity"]
    assert told == sorted(told), "what is zero stays zero"
    assert abs(told[-1] - share) < 1e-3
assert abs(zeros - 0.9) < 1e-3
assert abs(together.history["sparsity"][-1] - 0.9) < 1e-3
assert together.history["sparsity/0.weight"][-1] < histories[2].history["sparsity/0.weight"][-1]
assert accuracy[0.5] > accuracy[0.0] - 0.1, "half of the weights are hardly missed"
assert accuracy[0.98] < accuracy[0.0] - 0.1, "almost all of them are"
for name, ours in list(results.items())[1:]:
    reached = [np.mean(ours[share]) for share in sorted(ours)]
    assert reached == sorted(reached, reverse=True), f"{name}: more zeros cost more"
    assert reached[0] - reached[-1] < 0.05, f"{name}: 95 % of the weights are worth little"
