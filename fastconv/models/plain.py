"""Models that are one row of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import nn
from fastconv.nn import AvgPool2d, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Sequential


def mlp(
    num_classes: int = 10,
    *,
    hidden: Sequence[int] = (512, 128),
    input_shape: Sequence[int] = (32, 32, 3),
    dtype: Any = np.float32,
    seed: int | None = None,
) -> Sequential:
    """Fully connected layers of the widths `hidden` with ReLU between: 1,640,330 parameters as it stands."""
    layers: list[Layer] = [Flatten()]
    for width in hidden:
        layers += [Dense(width), nn.ReLU()]
    return Sequential(*layers, Dense(num_classes)).build(input_shape, dtype, seed)


def lenet5(
    num_classes: int = 10,
    *,
    input_shape: Sequence[int] = (32, 32, 3),
    dtype: Any = np.float32,
    seed: int | None = None,
) -> Sequential:
    """LeNet-5 (LeCun et al. 1998, https://doi.org/10.1109/5.726791) for three colours: 62,006 parameters.

    With tanh and average pooling as then; the second convolution sees all maps of the first, pooling has no weights,
    and logits take the place of the radial basis functions.
    """
    return Sequential(
        *(Conv2d(6, 5), nn.Tanh(), AvgPool2d(2)),
        *(Conv2d(16, 5), nn.Tanh(), AvgPool2d(2)),
        *(Flatten(), Dense(120), nn.Tanh(), Dense(84), nn.Tanh(), Dense(num_classes)),
    ).build(input_shape, dtype, seed)


def keras_cnn(
    num_classes: int = 10,
    *,
    dropout: bool = True,
    input_shape: Sequence[int] = (32, 32, 3),
    dtype: Any = np.float32,
    seed: int | None = None,
) -> Sequential:
    """Convolutional network of Keras' CIFAR-10 example: 1,250,858 parameters.

    Source: https://github.com/keras-team/keras/blob/2.3.1/examples/cifar10_cnn.py
    """

    def drop(p: float) -> list[Layer]:
        return [Dropout(p)] if dropout else []

    return Sequential(
        *(Conv2d(32, 3, padding="same"), nn.ReLU(), Conv2d(32, 3), nn.ReLU(), MaxPool2d(2), *drop(0.25)),
        *(Conv2d(64, 3, padding="same"), nn.ReLU(), Conv2d(64, 3), nn.ReLU(), MaxPool2d(2), *drop(0.25)),
        *(Flatten(), Dense(512), nn.ReLU(), *drop(0.5), Dense(num_classes)),
    ).build(input_shape, dtype, seed)
