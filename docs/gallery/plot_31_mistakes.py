"""
What is taken for what
======================

An accuracy is one number for many kinds of mistakes. The confusion matrix says what is taken for what; the images that
cost the most say why.
"""

import numpy as np

import fastconv as fc
from fastconv import nn

model = nn.Sequential(
    *(nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Dense(64), nn.ReLU(), nn.Dense(10)),
).build((32, 32, 3), seed=0)
train = fc.data.DataLoader(
    fc.data.shapes10("train", size=3000), 64, mean=(0.5,) * 3, std=(0.25,) * 3
)
fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 2e-3)).fit(
    train, 4
)
test = fc.data.shapes10("test", size=500)
x = ((test.images / 255 - 0.5) / 0.25).astype(np.float32)
logits = fc.to_numpy(model(x))
figure = fc.plot.mistakes(test.images, test.labels, logits, test.class_names)

# %%
# Rows are what it is, columns what it was taken for; on the right the twelve images that cost the most, with the
# probability that the network gave to its answer.

wrong = logits.argmax(1) != test.labels
probability = np.exp(logits - logits.max(1, keepdims=True))
probability /= probability.sum(1, keepdims=True)
of_its_class = probability[np.arange(len(x)), test.labels]
worst = np.argsort(of_its_class)[:12]
counts = np.zeros((10, 10), int)
np.add.at(counts, (test.labels[wrong], logits.argmax(1)[wrong]), 1)
what, taken = np.unravel_index(counts.argmax(), counts.shape)
print(
    f"{wrong.mean():.0%} are wrong, most often a {test.class_names[what]}",
    f"taken for a {test.class_names[taken]}",
)
print(f"the twelve give their classes at most {of_its_class[worst].max():.3f}")
assert wrong[worst].all()
assert of_its_class[worst].max() < 0.1  # what a guess would give it
