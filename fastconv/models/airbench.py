"""The network that reaches 94 % on CIFAR-10 in the fewest seconds."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import CIFAR, architecture
from fastconv.nn import BatchNorm2d, Conv2d, Dense, Flatten, Layer, MaxPool2d, Scale, Sequential

_FEATURES = 256


def _norm() -> Layer:
    return BatchNorm2d(eps=1e-12, momentum=0.4, scale=False)


@architecture(CIFAR)
def airbench(num_classes: int = 10) -> Sequential:
    """Network of airbench94 (Jordan 2024, https://arxiv.org/abs/2404.00498): 1,971,640 parameters.

    1,970,464 of them are weights, the others biases; 118,147,360 multiplications an image. Source:
    https://github.com/KellerJordan/cifar10-airbench, airbench94_muon.py. The first layer has the 24 filters that whiten
    patches of 2 x 2 pixels and their negatives once they are set, and stays as it is then, but for its bias::

        model.layers[0].weight.data = fc.data.whitening(images).weight
        model.freeze("0.weight")

    Filters begin as Dirac's, normalisations have no scale, and logits are divided by 256, their weights having the
    deviation 1. benchmarks/speedrun.py trains it.

    Examples
    --------
    >>> fc.models.airbench.unbuilt().summary((32, 32, 3)).macs
    118147360
    """

    def conv(channels: int) -> Layer:
        return Conv2d(channels, 3, padding="same", bias=False, init="dirac")

    layers: list[Layer] = [Conv2d(24, 2, init="he_normal"), nn.GELU()]
    for width in (64, 256, _FEATURES):
        layers += [conv(width), MaxPool2d(2), _norm(), nn.GELU(), conv(width), _norm(), nn.GELU()]
    head = Dense(num_classes, bias=False, init="unit_std")
    return Sequential(*layers, MaxPool2d(3), Flatten(), head, Scale(1 / _FEATURES))
