"""GoogLeNet (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842)."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import CIFAR, architecture
from fastconv.nn import BatchNorm2d, Conv2d, Dense, GlobalAvgPool2d, Layer, MaxPool2d, Parallel, Sequential

_INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
        *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj; a pooling between the groups."""


def _unit(channels: int, kernel_size: int) -> list[Layer]:
    return [Conv2d(channels, kernel_size, padding=kernel_size // 2), BatchNorm2d(), nn.ReLU()]


def _inception(one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int) -> Parallel:
    """Branches of 1 x 1, 3 x 3, and twice 3 x 3 convolutions for 5 x 5, and a pooling, their channels side by side."""
    return Parallel(
        Sequential(*_unit(one, 1)),
        Sequential(*_unit(reduce3, 1), *_unit(three, 3)),
        Sequential(*_unit(reduce5, 1), *_unit(five, 3), *_unit(five, 3)),
        Sequential(MaxPool2d(3, stride=1, padding=1), *_unit(pooled, 1)),
        mode="concatenate",
    )


@architecture(CIFAR)
def googlenet(num_classes: int = 10) -> Sequential:
    """GoogLeNet for CIFAR-10, normalised, with one convolution of 192 channels at the entrance: 6,166,250 parameters.

    As in https://github.com/kuangliu/pytorch-cifar. Without the auxiliary classifiers of the paper.
    """
    layers = _unit(192, 3)
    for number, group in enumerate(_INCEPTIONS):
        if number:
            layers.append(MaxPool2d(3, stride=2, padding=1))
        layers += [_inception(*channels) for channels in group]
    return Sequential(*layers, GlobalAvgPool2d(), Dense(num_classes))
