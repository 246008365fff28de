"""
What did the network look at?
=============================

Four answers. The gradient of a class's score says which pixels can change it most (saliency); multiplied by the image,
which pixels speak for it. Occlusion covers a part, and sees how much is lost. Grad-CAM asks the last maps of the
network instead of the pixels.
"""

import numpy as np

import fastconv as fc
from fastconv import nn

look = fc.training.diagnostics
model = nn.Sequential(
    *(nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Flatten(), nn.Dense(64), nn.ReLU(), nn.Dense(10)),
).build((32, 32, 3), seed=0)
mean, std = (0.5,) * 3, (0.25,) * 3
train = fc.data.DataLoader(fc.data.shapes10("train", size=5000), 64, mean=mean, std=std)
optimizer = fc.optim.Adam(model.parameters(), 2e-3)
fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer).fit(train, 4)
test = fc.data.shapes10("test", size=200)
x = ((test.images / 255 - 0.5) / 0.25).astype(np.float32)
answers = fc.to_numpy(model(x)).argmax(1)
right = np.flatnonzero(answers == test.labels)[:5]
chosen, labels = x[right], test.labels[right]

maps = {
    "saliency": look.saliency(model, chosen, labels),
    "gradient x input": look.gradient_times_input(model, chosen, labels),
    "occlusion": look.occlusion(model, chosen, labels, size=8, stride=4),
    "Grad-CAM": look.grad_cam(model, chosen, labels),
}
figure = fc.plot.attributions(test.images[right], maps)

# %%
# Orange speaks for the class, violet against it. What is covered costs something wherever the network looked. Grad-CAM
# shows only where the last maps speak for the class; where they do so nowhere, it is dark all over.

print(f"{np.mean(answers == test.labels):.2f} of the test images are right")
print("lost at the worst place:", np.round(maps["occlusion"].max((1, 2)), 1))
print("dark all over:", np.count_nonzero(~maps["Grad-CAM"].any((1, 2))), "of five")
assert len(right) == 5
assert (maps["occlusion"].max((1, 2)) > 0).all()
assert all(each.min() >= 0 for each in (maps["saliency"], maps["Grad-CAM"]))

# %%
# And for the other classes? Gradient x input of one image of each of nine classes, for all ten: along a row, what
# speaks for this class and against that one. The lecture shows such a grid, made by SHAP's DeepExplainer, of nine
# digits; gradient x input is a simpler question, asked of the same kind of network.

found = [np.flatnonzero((answers == label) & (test.labels == label)) for label in range(10)]
nine = np.array([places[0] for places in found if len(places)])[:9]
names = test.class_names
grid = {names[label]: look.gradient_times_input(model, x[nine], label) for label in range(10)}
figure = fc.plot.attributions(test.images[nine], grid, together=True)

own = np.array([grid[names[test.labels[each]]][row].sum() for row, each in enumerate(nine)])
others = np.array([np.mean([grid[name][row].sum() for name in names]) for row in range(len(nine))])
print("for its own class:", np.round(own, 1))
print("on average:       ", np.round(others, 1))
assert len(nine) == 9
assert own.mean() > others.mean()
