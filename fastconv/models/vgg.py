"""The networks of the Visual Geometry Group (Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556)."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import architecture
from fastconv.nn import BatchNorm2d, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Sequential


def _vgg(num_classes: int, stages: tuple[int, ...], form: str, *, batch_norm: bool) -> Sequential:
    """Put `stages` convolutions before each of five poolings."""
    layers: list[Layer] = []
    for width, count in zip((64, 128, 256, 512, 512), stages, strict=True):
        for _ in range(count):
            layers += [Conv2d(width, 3, padding=1), *([BatchNorm2d()] if batch_norm else []), nn.ReLU()]
        layers.append(MaxPool2d(2))
    layers.append(Flatten())
    if form == "imagenet":
        layers += [Dense(4096), nn.ReLU(), Dropout(0.5), Dense(4096), nn.ReLU(), Dropout(0.5)]
    return Sequential(*layers, Dense(num_classes))


@architecture()
def vgg11(num_classes: int = 10, *, form: str = "cifar", batch_norm: bool = True) -> Sequential:
    """VGG-11, configuration A.

    As for ImageNet, with `form` "imagenet" and two hidden dense layers: 132,863,336 parameters with 1000 classes,
    132,868,840 with `batch_norm`, 7.61 G multiplications. Else for CIFAR-10, without them: 9,231,114.

    Examples
    --------
    >>> fc.models.vgg11.unbuilt(1000, form="imagenet", batch_norm=False).summary((224, 224, 3)).parameters
    132863336
    """
    return _vgg(num_classes, (1, 1, 2, 2, 2), form, batch_norm=batch_norm)


@architecture()
def vgg13(num_classes: int = 10, *, form: str = "cifar", batch_norm: bool = True) -> Sequential:
    """VGG-13, as `vgg11`: 133,047,848 parameters for ImageNet (133,053,736 normalised), 9,416,010 for CIFAR-10.

    Examples
    --------
    >>> fc.models.vgg13.unbuilt(1000, form="imagenet", batch_norm=False).summary((224, 224, 3)).parameters
    133047848
    """
    return _vgg(num_classes, (2, 2, 2, 2, 2), form, batch_norm=batch_norm)


@architecture()
def vgg16(num_classes: int = 10, *, form: str = "cifar", batch_norm: bool = True) -> Sequential:
    """VGG-16, as `vgg11`: 138,357,544 parameters for ImageNet (138,365,992 normalised), 14,728,266 for CIFAR-10.

    Examples
    --------
    >>> fc.models.vgg16.unbuilt(1000, form="imagenet", batch_norm=False).summary((224, 224, 3)).parameters
    138357544
    """
    return _vgg(num_classes, (2, 2, 3, 3, 3), form, batch_norm=batch_norm)


@architecture()
def vgg19(num_classes: int = 10, *, form: str = "cifar", batch_norm: bool = True) -> Sequential:
    """VGG-19, as `vgg11`: 143,667,240 parameters for ImageNet (143,678,248 normalised), 20,040,522 for CIFAR-10.

    Examples
    --------
    >>> fc.models.vgg19.unbuilt(1000, form="imagenet", batch_norm=False).summary((224, 224, 3)).parameters
    143667240
    """
    return _vgg(num_classes, (2, 2, 4, 4, 4), form, batch_norm=batch_norm)
