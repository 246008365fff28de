"""AlexNet (Krizhevsky et al. 2012, https://doi.org/10.1145/3065386)."""

from __future__ import annotations

from fastconv import nn
from fastconv.models.architecture import CIFAR, architecture
from fastconv.nn import Conv2d, Dense, Dropout, Flatten, Layer, LocalResponseNorm, MaxPool2d, Sequential


def _small() -> list[Layer]:
    """For 32 x 32 pixels, as in https://github.com/bearpaw/pytorch-classification."""
    return [
        *(Conv2d(64, 11, stride=4, padding=5), nn.ReLU(), MaxPool2d(2)),
        *(Conv2d(192, 5, padding=2), nn.ReLU(), MaxPool2d(2)),
        *(Conv2d(384, 3, padding=1), nn.ReLU(), Conv2d(256, 3, padding=1), nn.ReLU()),
        *(Conv2d(256, 3, padding=1), nn.ReLU(), MaxPool2d(2), Flatten()),
    ]


def _large() -> list[Layer]:
    """As in the paper: two groups, one for each of its GPUs, and responses normalised across channels."""
    return [
        *(Conv2d(96, 11, stride=4), nn.ReLU(), LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)),
        *(MaxPool2d(3, stride=2), Conv2d(256, 5, padding=2, groups=2), nn.ReLU()),
        *(LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0), MaxPool2d(3, stride=2)),
        *(Conv2d(384, 3, padding=1), nn.ReLU(), Conv2d(384, 3, padding=1, groups=2), nn.ReLU()),
        *(Conv2d(256, 3, padding=1, groups=2), nn.ReLU(), MaxPool2d(3, stride=2), Flatten()),
        *(Dense(4096), nn.ReLU(), Dropout(0.5), Dense(4096), nn.ReLU(), Dropout(0.5)),
    ]


@architecture(forms={"cifar": CIFAR, "imagenet": (227, 227, 3)})
def alexnet(num_classes: int = 10, *, form: str = "cifar") -> Sequential:
    """AlexNet as in the paper with `form` "imagenet", 227 x 227 pixels: 60,965,224 parameters with 1000 classes.

    Else for CIFAR-10, with one dense layer: 2,472,266. The paper's alpha of 1e-4 is for each of the five channels that
    a response is normalised by; `LocalResponseNorm` divides its own by their number.

    Examples
    --------
    >>> fc.models.alexnet.unbuilt(1000, form="imagenet").summary((227, 227, 3)).parameters
    60965224
    """
    return Sequential(*(_large() if form == "imagenet" else _small()), Dense(num_classes))
