"""Models that are one row of layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from fastconv import _validate as validate
from fastconv import nn
from fastconv._shapes import as_pair
from fastconv.errors import ArgumentError
from fastconv.models.architecture import CIFAR, architecture
from fastconv.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LocalResponseNorm,
    MaxPool2d,
    Sequential,
)


@architecture(CIFAR)
def mlp(num_classes: int = 10, *, hidden: Sequence[int] = (512, 128)) -> Sequential:
    """Fully connected layers of the widths `hidden` with ReLU between: 1,640,330 parameters as it stands.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.

    Examples
    --------
    >>> fc.models.mlp.unbuilt(10, hidden=(64,)).summary((28, 28, 1)).parameters
    50890
    """
    try:
        widths = None if isinstance(hidden, str | bytes) else tuple(hidden)
    except TypeError:
        widths = None
    if widths is None:
        raise ArgumentError(f"hidden: got {hidden!r}; allowed: several ints in a tuple, such as (512, 128)")
    layers: list[Layer] = [Flatten()]
    for i, width in enumerate(widths):
        layers += [Dense(validate.at_least_one(width, f"hidden[{i}]")), nn.ReLU()]
    return Sequential(*layers, Dense(num_classes))


@architecture(CIFAR)
def lenet5(num_classes: int = 10) -> Sequential:
    """LeNet-5 (LeCun et al. 1998, https://doi.org/10.1109/5.726791) for three colours: 62,006 parameters.

    With tanh and average pooling as then; the second convolution sees all maps of the first, pooling has no weights,
    and logits take the place of the radial basis functions.

    Examples
    --------
    >>> fc.models.lenet5(seed=0).predict(np.zeros((2, 32, 32, 3), np.float32)).shape
    (2, 10)
    """
    return Sequential(
        *(Conv2d(6, 5), nn.Tanh(), AvgPool2d(2)),
        *(Conv2d(16, 5), nn.Tanh(), AvgPool2d(2)),
        *(Flatten(), Dense(120), nn.Tanh(), Dense(84), nn.Tanh(), Dense(num_classes)),
    )


@architecture(CIFAR)
def keras_cnn(num_classes: int = 10, *, dropout: bool = True) -> Sequential:
    """Convolutional network of Keras' CIFAR-10 example: 1,250,858 parameters.

    Source: https://github.com/keras-team/keras/blob/2.3.1/examples/cifar10_cnn.py

    Parameters
    ----------
    dropout : bool
        Whether its three dropouts are there.

    Examples
    --------
    >>> fc.models.keras_cnn.unbuilt().summary((32, 32, 3)).parameters
    1250858
    """

    def drop(p: float) -> list[Layer]:
        return [Dropout(p)] if dropout else []

    return Sequential(
        *(Conv2d(32, 3, padding="same"), nn.ReLU(), Conv2d(32, 3), nn.ReLU(), MaxPool2d(2), *drop(0.25)),
        *(Conv2d(64, 3, padding="same"), nn.ReLU(), Conv2d(64, 3), nn.ReLU(), MaxPool2d(2), *drop(0.25)),
        *(Flatten(), Dense(512), nn.ReLU(), *drop(0.5), Dense(num_classes)),
    )


@architecture((24, 24, 3))
def tf_cifar10(num_classes: int = 10) -> Sequential:
    """Network of TensorFlow's CIFAR-10 tutorial, for crops of 24 x 24 pixels: 1,068,298 parameters.

    The one that its pruning sample trains. Source: https://github.com/tensorflow/models/blob/r1.13.0/tutorials/image/cifar10/cifar10.py

    Examples
    --------
    >>> fc.models.tf_cifar10.unbuilt().summary((24, 24, 3)).parameters
    1068298
    """

    def norm() -> Layer:
        return LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)  # four channels on each side

    return Sequential(
        *(Conv2d(64, 5, padding="same"), nn.ReLU(), MaxPool2d(3, stride=2, padding="same"), norm()),
        *(Conv2d(64, 5, padding="same"), nn.ReLU(), norm(), MaxPool2d(3, stride=2, padding="same")),
        *(Flatten(), Dense(384), nn.ReLU(), Dense(192), nn.ReLU(), Dense(num_classes)),
    )


def _makes_a_layer(activation: Any) -> None:
    """Refuse what does not make a layer when it is called without arguments, such as a layer or its name."""
    try:
        inspect.signature(activation).bind()
        fits = True
    except (TypeError, ValueError):  # it cannot be called, or wants arguments
        fits = False
    if not fits or not isinstance(activation(), Layer):
        raise ArgumentError(
            f"activation: got {activation!r:.100}; allowed: a class of layers, such as nn.Tanh, or a function of"
            " nothing that makes a layer"
        )


@architecture((28, 28, 1))
def mnist_cnn(
    num_classes: int = 10,
    *,
    activation: Callable[[], Layer] = nn.ReLU,
    kernel_size: int = 3,
    pool_size: int = 2,
    normalised: int = 0,
) -> Sequential:
    """Convolutional network of Keras' MNIST example: 1,199,882 parameters, 11,992,448 multiplications an image.

    Source: https://github.com/keras-team/keras/blob/2.3.1/examples/mnist_cnn.py. The settings give its variants.

    Parameters
    ----------
    activation : layer class, or function of nothing that makes a layer
        Of both convolutions and of the hidden dense layer; by its name in a recipe and on the command line:
        ``--model mnist_cnn activation=Tanh``.
    kernel_size, pool_size : int
        Of both convolutions, and of the pooling.
    normalised : int
        With 1, a BatchNorm2d after the first convolution takes the place of the first dropout; with 2, another one
        after the hidden dense layer that of the second dropout as well.

    Examples
    --------
    >>> fc.models.mnist_cnn.unbuilt().summary((28, 28, 1)).macs
    11992448
    """
    normalised = validate.at_least(normalised, 0, "normalised", 2)
    pool = MaxPool2d(as_pair(pool_size, "pool_size"))
    _makes_a_layer(activation)
    first, second = ([BatchNorm2d()] if normalised > place else [] for place in (0, 1))
    return Sequential(
        *(Conv2d(32, kernel_size), *first, activation(), Conv2d(64, kernel_size), activation(), pool),
        *([] if first else [Dropout(0.25)]),
        *(Flatten(), Dense(128), *second, activation(), *([] if second else [Dropout(0.5)]), Dense(num_classes)),
    )
