"""MobileNet (Howard et al. 2017, https://arxiv.org/abs/1704.04861)."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import architecture
from fastconv.nn import BatchNorm2d, Conv2d, Dense, GlobalAvgPool2d, Layer, Sequential

_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Channels put out, and stride, of each depthwise convolution with the 1 x 1 convolution after it."""


def _norm_relu(conv: Conv2d) -> list[Layer]:
    return [conv, BatchNorm2d(), nn.ReLU()]


@architecture()
def mobilenet(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """MobileNet of width 1: 4,231,976 parameters and 569 M multiplications with 1000 classes, for ImageNet.

    For CIFAR-10 the first convolution does not stride: 3,217,226 parameters.

    Examples
    --------
    >>> fc.models.mobilenet.unbuilt(1000, form="imagenet").summary((224, 224, 3)).parameters
    4231976
    """
    layers = _norm_relu(Conv2d(32, 3, stride=2 if form == "imagenet" else 1, padding=1, bias=False))
    channels = 32
    for width, stride in _BLOCKS:
        layers += _norm_relu(Conv2d(channels, 3, stride=stride, padding=1, groups=channels, bias=False))
        layers += _norm_relu(Conv2d(width, 1, bias=False))
        channels = width
    return Sequential(*layers, GlobalAvgPool2d(), Dense(num_classes))
