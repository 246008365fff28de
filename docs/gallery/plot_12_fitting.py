"""
Underfitting and overfitting
============================

A model that is too small cannot learn what is there; one that is too large for its data learns the images by heart. The
two curves of a run, training and validation, tell which.
"""

import matplotlib.pyplot as plt

import fastconv as fc

train = fc.data.shapes10("train", size=300)
test = fc.data.shapes10("test", size=300)


def run(hidden, epochs=15):
    """Train fully connected layers of these widths."""
    model = fc.models.mlp(hidden=hidden, seed=0)
    trainer = fc.Trainer(
        model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 1e-3), seed=0
    )
    return trainer.fit(
        fc.data.DataLoader(train, 50), epochs, fc.data.DataLoader(test, 100, shuffle=False)
    )


runs = {"2 hidden units": run((2,)), "512 and 128": run((512, 128))}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for ax, (name, history) in zip(axes, runs.items(), strict=True):
    fc.plot.curves(history, "accuracy", ax=ax)
    ax.set_title(name)

# %%
# On the left both curves stay low: the model is too small. On the right they part: it knows its 300 images, and little
# else. A convolution, more images, or augmentation is what helps; see the pages that follow.

gap = {name: h.history["accuracy"][-1] - h.history["val_accuracy"][-1] for name, h in runs.items()}
for name, value in gap.items():
    print(f"{name:14} {value:.2f} between training and validation")

low, high = (history.history for history in runs.values())
assert max(low["accuracy"] + low["val_accuracy"]) < 0.6
assert high["accuracy"][-1] > 0.95
assert max(high["val_accuracy"]) < 0.5
assert gap["512 and 128"] > gap["2 hidden units"] + 0.1
