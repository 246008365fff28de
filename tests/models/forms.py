"""Every model in every form, with images as small as it takes, so that whole networks are quick."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import nn
from tests.models.test_published import BARE, PARAMETERS, VARIANTS

FORMS = {
    **{f"{name} {form or ''}".strip(): (name, {"form": form} if form else {}) for name, form in PARAMETERS},
    **{
        f"{name} {form} bare": (name, {"form": form, "batch_norm": False})
        for name in BARE
        for form in ("cifar", "imagenet")
    },
    **{f"mnist_cnn, {variant}": ("mnist_cnn", settings) for variant, (settings, _) in VARIANTS.items() if settings},
}
"""By what a test calls it: the name of the model, and its settings."""


def small(name, settings, **more):
    """Return the model, built for 32 x 32 pixels where it is for ImageNet, AlexNet for the 67 that it needs.

    Its weights are so large that signals reach its end, as He et al. 2015 have them, and one batch settles its running
    statistics: as they come, logits of deep networks are hardly more than the last bias.
    """
    if settings.get("form") == "imagenet":
        more["input_shape"] = (67, 67, 3) if name == "alexnet" else (32, 32, 3)
    model: nn.Sequential = getattr(fc.models, name)(**settings, **more)
    for layer in model.walk():
        if isinstance(layer, nn.Conv2d | nn.Dense):
            layer.weight.data = fc.to_numpy(layer.weight.data) * np.sqrt(6).astype(model.dtype)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    return model
