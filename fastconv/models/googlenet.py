"""GoogLeNet (Szegedy et al. 2014, https://arxiv.org/abs/1409.4842)."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import architecture
from fastconv.nn import (
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    GlobalAvgPool2d,
    Layer,
    LocalResponseNorm,
    MaxPool2d,
    Parallel,
    Sequential,
)

_INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
        *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Table 1 of the paper: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj; a pooling between the groups."""


def _unit(channels: int, kernel_size: int, *, norm: bool) -> list[Layer]:
    conv = Conv2d(channels, kernel_size, padding=kernel_size // 2)
    return [conv, *([BatchNorm2d()] if norm else []), nn.ReLU()]


def _inception(channels: tuple[int, ...], *, norm: bool) -> Parallel:
    """Branches of 1 x 1, 3 x 3, 5 x 5 and a pooling, side by side; normalised, twice 3 x 3 in the place of 5 x 5."""
    one, reduce3, three, reduce5, five, pooled = channels
    wide = [*_unit(five, 3, norm=True), *_unit(five, 3, norm=True)] if norm else _unit(five, 5, norm=False)
    return Parallel(
        Sequential(*_unit(one, 1, norm=norm)),
        Sequential(*_unit(reduce3, 1, norm=norm), *_unit(three, 3, norm=norm)),
        Sequential(*_unit(reduce5, 1, norm=norm), *wide),
        Sequential(MaxPool2d(3, stride=1, padding=1), *_unit(pooled, 1, norm=norm)),
        mode="concatenate",
    )


def _entrance() -> list[Layer]:
    """From 224 x 224 pixels to 28 x 28."""
    norm, again = (LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0) for _ in range(2))
    return [
        *(Conv2d(64, 7, stride=2, padding=3), nn.ReLU(), MaxPool2d(3, stride=2, ceil_mode=True), norm),
        *(Conv2d(64, 1), nn.ReLU(), Conv2d(192, 3, padding=1), nn.ReLU()),
        *(again, MaxPool2d(3, stride=2, ceil_mode=True)),
    ]


@architecture()
def googlenet(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """GoogLeNet as in the paper with `form` "imagenet": 6,998,552 parameters with 1000 classes.

    Else for CIFAR-10, normalised, with one convolution of 192 channels at the entrance, as in
    https://github.com/kuangliu/pytorch-cifar: 6,166,250. Both without the auxiliary classifiers.

    Examples
    --------
    >>> fc.models.googlenet.unbuilt(1000, form="imagenet").summary((224, 224, 3)).parameters
    6998552
    """
    large = form == "imagenet"
    layers = _entrance() if large else _unit(192, 3, norm=True)
    for number, group in enumerate(_INCEPTIONS):
        if number:
            layers.append(MaxPool2d(3, stride=2, ceil_mode=True) if large else MaxPool2d(3, stride=2, padding=1))
        layers += [_inception(channels, norm=not large) for channels in group]
    return Sequential(*layers, GlobalAvgPool2d(), *([Dropout(0.4)] if large else []), Dense(num_classes))
