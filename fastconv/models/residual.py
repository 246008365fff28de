"""Residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import nn
from fastconv.nn import (
    BatchNorm2d,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Layer,
    MaxPool2d,
    Residual,
    Sequential,
    SubsamplePad,
)


def _conv_bn(channels: int, stride: int = 1) -> list[Layer]:
    return [Conv2d(channels, 3, stride=stride, padding=1, bias=False), BatchNorm2d()]


def _conv_bn_relu(channels: int) -> list[Layer]:
    return [*_conv_bn(channels), nn.ReLU()]


def resnet20(
    num_classes: int = 10,
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    dtype: Any = np.float32,
    seed: int | None = None,
) -> Sequential:
    """ResNet-20 for CIFAR-10 with shortcuts of option A (He et al. 2015, section 4.2): 269,722 parameters.

    Source: https://arxiv.org/abs/1512.03385
    """
    layers, channels = [*_conv_bn_relu(16)], 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = 1 if width == channels else 2
            body = Sequential(*_conv_bn(width, stride), nn.ReLU(), *_conv_bn(width))
            shortcut = SubsamplePad(width, stride=stride) if stride > 1 else None
            layers += [Residual(body, shortcut), nn.ReLU()]
            channels = width
    return Sequential(*layers, GlobalAvgPool2d(), Dense(num_classes)).build(input_shape, dtype, seed)


def resnet9(
    num_classes: int = 10,
    *,
    width: int = 64,
    input_shape: Sequence[int] = (32, 32, 3),
    dtype: Any = np.float32,
    seed: int | None = None,
) -> Sequential:
    """ResNet of nine layers as in the fast-training literature: 6,573,120 parameters at `width` 64.

    After Page's DAWNBench entry, https://myrtle.ai/learn/how-to-train-your-resnet/, with global max pooling and no
    bias.
    """

    def block(channels: int) -> Residual:
        return Residual(Sequential(*_conv_bn_relu(channels), *_conv_bn_relu(channels)))

    return Sequential(
        *_conv_bn_relu(width),
        *(*_conv_bn_relu(2 * width), MaxPool2d(2), block(2 * width)),
        *(*_conv_bn_relu(4 * width), MaxPool2d(2)),
        *(*_conv_bn_relu(8 * width), MaxPool2d(2), block(8 * width)),
        *(GlobalMaxPool2d(), Dense(num_classes, bias=False)),
    ).build(input_shape, dtype, seed)
