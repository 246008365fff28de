"""Residual networks."""

from __future__ import annotations

from fastconv import _validate as validate
from fastconv import nn
from fastconv.models.architecture import CIFAR, architecture
from fastconv.nn import (
    BatchNorm2d,
    Conv2d,
    Dense,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Layer,
    MaxPool2d,
    Residual,
    Scale,
    Sequential,
    SubsamplePad,
)


def _conv_bn(channels: int, kernel_size: int = 3, stride: int = 1) -> list[Layer]:
    padding = kernel_size // 2
    return [Conv2d(channels, kernel_size, stride=stride, padding=padding, bias=False), BatchNorm2d()]


def _conv_bn_relu(channels: int, kernel_size: int = 3, stride: int = 1) -> list[Layer]:
    return [*_conv_bn(channels, kernel_size, stride), nn.ReLU()]


def _thin(num_classes: int, depth: int) -> Sequential:
    """Three stages of 16, 32 and 64 channels; ``depth = 6 n + 2``, n blocks of two convolutions a stage."""
    layers, channels = [*_conv_bn_relu(16)], 16
    for width in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            stride = 1 if width == channels else 2
            body = Sequential(*_conv_bn_relu(width, stride=stride), *_conv_bn(width))
            shortcut = SubsamplePad(width, stride=stride) if stride > 1 else None
            layers += [Residual(body, shortcut), nn.ReLU()]
            channels = width
    return Sequential(*layers, GlobalAvgPool2d(), Dense(num_classes))


@architecture(CIFAR)
def resnet20(num_classes: int = 10) -> Sequential:
    """ResNet-20 for CIFAR-10 with shortcuts of option A (He et al. 2015, section 4.2): 269,722 parameters.

    Source: https://arxiv.org/abs/1512.03385

    Examples
    --------
    >>> fc.models.resnet20.unbuilt().summary((32, 32, 3)).parameters
    269722
    """
    return _thin(num_classes, 20)


@architecture(CIFAR)
def resnet32(num_classes: int = 10) -> Sequential:
    """ResNet-32 for CIFAR-10, as `resnet20`: 464,154 parameters.

    Examples
    --------
    >>> fc.models.resnet32.unbuilt().summary((32, 32, 3)).parameters
    464154
    """
    return _thin(num_classes, 32)


@architecture(CIFAR)
def resnet44(num_classes: int = 10) -> Sequential:
    """ResNet-44 for CIFAR-10, as `resnet20`: 658,586 parameters.

    Examples
    --------
    >>> fc.models.resnet44.unbuilt().summary((32, 32, 3)).parameters
    658586
    """
    return _thin(num_classes, 44)


@architecture(CIFAR)
def resnet56(num_classes: int = 10) -> Sequential:
    """ResNet-56 for CIFAR-10, as `resnet20`: 853,018 parameters.

    Examples
    --------
    >>> fc.models.resnet56.unbuilt().summary((32, 32, 3)).parameters
    853018
    """
    return _thin(num_classes, 56)


@architecture(CIFAR)
def resnet110(num_classes: int = 10) -> Sequential:
    """ResNet-110 for CIFAR-10, as `resnet20`: 1,727,962 parameters.

    Examples
    --------
    >>> fc.models.resnet110.unbuilt().summary((32, 32, 3)).parameters
    1727962
    """
    return _thin(num_classes, 110)


def _wide(num_classes: int, form: str, blocks: tuple[int, ...], *, bottleneck: bool = False) -> Sequential:
    """Four stages of 64 to 512 channels; where shapes change, a 1 x 1 convolution is the shortcut.

    A bottleneck puts out four times its channels, and strides in its 3 x 3 convolution, as PyTorch's do.
    """
    large: list[Layer] = [*_conv_bn_relu(64, 7, 2), MaxPool2d(3, stride=2, padding=1)]
    layers, channels = large if form == "imagenet" else _conv_bn_relu(64), 64
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
        out = 4 * width if bottleneck else width
        for number in range(count):
            stride = 2 if stage and not number else 1
            if bottleneck:
                body = [*_conv_bn_relu(width, 1), *_conv_bn_relu(width, 3, stride), *_conv_bn(out, 1)]
            else:
                body = [*_conv_bn_relu(width, 3, stride), *_conv_bn(out)]
            shortcut = Sequential(*_conv_bn(out, 1, stride)) if stride > 1 or channels != out else None
            layers += [Residual(Sequential(*body), shortcut), nn.ReLU()]
            channels = out
    return Sequential(*layers, GlobalAvgPool2d(), Dense(num_classes))


@architecture()
def resnet18(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """ResNet-18 (He et al. 2015, table 1, https://arxiv.org/abs/1512.03385).

    As for ImageNet, with `form` "imagenet": 11,689,512 parameters with 1000 classes, 1.81 G multiplications. Else for
    CIFAR-10, with a 3 x 3 convolution and no pooling at the entrance: 11,173,962.

    Examples
    --------
    >>> fc.models.resnet18.unbuilt(1000, form="imagenet").summary((224, 224, 3)).parameters
    11689512
    """
    return _wide(num_classes, form, (2, 2, 2, 2))


@architecture()
def resnet34(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """ResNet-34, as `resnet18`: 21,797,672 parameters, 3.66 G multiplications; for CIFAR-10 21,282,122.

    Examples
    --------
    >>> fc.models.resnet34.unbuilt(1000, form="imagenet").summary((224, 224, 3)).parameters
    21797672
    """
    return _wide(num_classes, form, (3, 4, 6, 3))


@architecture()
def resnet50(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """ResNet-50, as `resnet18`: 25,557,032 parameters, 4.09 G multiplications; for CIFAR-10 23,520,842.

    Examples
    --------
    >>> fc.models.resnet50.unbuilt(1000, form="imagenet").summary((224, 224, 3)).parameters
    25557032
    """
    return _wide(num_classes, form, (3, 4, 6, 3), bottleneck=True)


@architecture(CIFAR)
def resnet9(num_classes: int = 10, *, width: int = 64) -> Sequential:
    """ResNet of nine layers as in the fast-training literature: 6,573,120 parameters at `width` 64.

    After Page's DAWNBench entry, https://myrtle.ai/learn/how-to-train-your-resnet/: global max pooling, no bias, and
    logits divided by 8, without which rates as there (0.4, 512 images a step) learn nothing for an epoch.

    Parameters
    ----------
    width : int
        Channels of the first convolution.

    Examples
    --------
    >>> fc.models.resnet9.unbuilt(width=16).summary((32, 32, 3)).parameters
    412944
    """
    width = validate.at_least_one(width, "width")

    def block(channels: int) -> Residual:
        return Residual(Sequential(*_conv_bn_relu(channels), *_conv_bn_relu(channels)))

    return Sequential(
        *_conv_bn_relu(width),
        *(*_conv_bn_relu(2 * width), MaxPool2d(2), block(2 * width)),
        *(*_conv_bn_relu(4 * width), MaxPool2d(2)),
        *(*_conv_bn_relu(8 * width), MaxPool2d(2), block(8 * width)),
        *(GlobalMaxPool2d(), Dense(num_classes, bias=False), Scale(1 / 8)),
    )
