"""Every model learns: its loss falls on 200 images; and those for large images take one."""

import dataclasses

import numpy as np
import pytest

import fastconv as fc
from fastconv.losses import SoftmaxCrossEntropy
from tests.models.test_published import PARAMETERS, VARIANTS

pytestmark = pytest.mark.slow

# Epochs where two are too few: of most models without a normalisation.
EPOCHS = {"alexnet": 14, "keras_cnn": 10, "lenet5": 6, "mlp": 3, "mnist_cnn": 10, "tf_cifar10": 6, "vgg13": 3}
# What takes longest sees each second pixel of each second line: a quarter of the work, and as much to learn.
SMALLER = {"googlenet", "resnet18", "resnet34", "resnet50", "resnet110"}

CASES = [(name, {}) for name, form in PARAMETERS if form != "imagenet"]
CASES += [("mnist_cnn", settings) for settings, _ in VARIANTS.values() if settings]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_its_loss_falls(name, settings):
    data = fc.data.shapes10("train", size=200)
    if name in SMALLER:
        data = dataclasses.replace(data, images=np.ascontiguousarray(data.images[:, ::2, ::2]))
    with fc.use_backend("numba"):
        model = getattr(fc.models, name)(input_shape=data.images.shape[1:], seed=0, **settings)
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 1e-3), seed=0)
        losses = trainer.fit(fc.data.DataLoader(data, 50, seed=0), EPOCHS.get(name, 2)).history["loss"]
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("name", sorted(name for name, form in PARAMETERS if form == "imagenet"))
def test_a_large_image(name):
    with fc.use_backend("numba"):
        model = getattr(fc.models, name)(10, form="imagenet", seed=0)
        logits = model(np.ones((1, *model.input_shape), np.float32))
    assert logits.shape == (1, 10)
    assert np.isfinite(logits).all()
