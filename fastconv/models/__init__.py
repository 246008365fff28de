"""Models, each returned built, on the active backend.

All take `num_classes`, `input_shape`, `dtype` and `seed` (that of `fastconv.seed` by default), and put out logits,
(N, num_classes). Those that have a `form` are for images of 32 x 32 pixels unless it is "imagenet". `load` builds one
with the weights of a file, `fine_tune` gives one another head, `export_pruned` writes one that was pruned.
"""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.models.airbench import airbench
from fastconv.models.alexnet import alexnet
from fastconv.models.exporting import PrunedExport, export_pruned
from fastconv.models.googlenet import googlenet
from fastconv.models.loading import fine_tune, load
from fastconv.models.mobilenet import mobilenet
from fastconv.models.plain import keras_cnn, lenet5, mlp, mnist_cnn, tf_cifar10
from fastconv.models.residual import (
    resnet9,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)
from fastconv.models.vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "PrunedExport",
    "airbench",
    "alexnet",
    "export_pruned",
    "fine_tune",
    "googlenet",
    "keras_cnn",
    "lenet5",
    "load",
    "mlp",
    "mnist_cnn",
    "mobilenet",
    "resnet9",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "tf_cifar10",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
