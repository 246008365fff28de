"""Layers: pairs of forward and backward, and containers to make models of them.

``model = nn.Sequential(nn.Conv2d(32, 3), nn.ReLU(), nn.Flatten(), nn.Dense(10)).build((32, 32, 3))``; see
`fastconv.nn.layer` for what a layer is.
"""

from typing import TYPE_CHECKING

from fastconv.nn.activations import LAYERS
from fastconv.nn.containers import Parallel, Residual, Sequential
from fastconv.nn.conv import Conv2d
from fastconv.nn.dense import Dense
from fastconv.nn.layer import Layer
from fastconv.nn.norm import BatchNorm2d
from fastconv.nn.parameter import Buffer, Parameter, Parameters
from fastconv.nn.pooling import AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d
from fastconv.nn.scope import Scope
from fastconv.nn.simple import Dropout, Flatten, Identity, Scale, SubsamplePad

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "Identity",
    "Layer",
    "MaxPool2d",
    "Parallel",
    "Parameter",
    "Parameters",
    "Residual",
    "Scale",
    "Scope",
    "Sequential",
    "SubsamplePad",
]
__all__.extend(LAYERS)
__all__.sort()
globals().update(LAYERS)
if TYPE_CHECKING:  # the layers of pointwise functions, which are in a list
    from fastconv.nn.activations import PointwiseLayer

    def __getattr__(name: str) -> type[PointwiseLayer]: ...
