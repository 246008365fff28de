"""Layers: pairs of forward and backward, and containers to make models of them.

``model = nn.Sequential(nn.Conv2d(32, 3), nn.ReLU(), nn.Flatten(), nn.Dense(10)).build((32, 32, 3))``. A
layer keeps nothing about a step: what backward needs is the context that forward returns. One of your own is derived
from `Layer`; what holds for it stands in the guide "Your own layers", and in full in fastconv/nn/core/layer.py.
"""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.nn.containers.branches import Parallel, Residual
from fastconv.nn.containers.graph import Graph
from fastconv.nn.containers.sequential import Sequential
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.parameters import Parameters
from fastconv.nn.core.scope import Scope
from fastconv.nn.layers.activations import LAYERS, PointwiseLayer
from fastconv.nn.layers.channel_norm import GroupNorm, LocalResponseNorm
from fastconv.nn.layers.channels import Maxout, PReLU, Softmax
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.conv_transpose import ConvTranspose2d
from fastconv.nn.layers.dense import Dense
from fastconv.nn.layers.depthwise import DepthwiseConv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d
from fastconv.nn.layers.resizing import AdaptiveAvgPool2d, Upsample
from fastconv.nn.layers.simple import Dropout, Flatten, Identity, Scale, SubsamplePad
from fastconv.nn.layers.sync_norm import SyncBatchNorm
from fastconv.nn.model.model import Layer

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "Dense",
    "DepthwiseConv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "Graph",
    "GroupNorm",
    "Identity",
    "Layer",
    "LocalResponseNorm",
    "MaxPool2d",
    "Maxout",
    "PReLU",
    "Parallel",
    "Parameter",
    "Parameters",
    "Residual",
    "Scale",
    "Scope",
    "Sequential",
    "Softmax",
    "SubsamplePad",
    "SyncBatchNorm",
    "Upsample",
]
__all__.extend(LAYERS)
__all__.sort()
globals().update(LAYERS)
if TYPE_CHECKING:  # the layers of pointwise functions, which are in a list

    def __getattr__(name: str) -> type[PointwiseLayer]: ...

else:
    __getattr__ = tells_names(__name__)
