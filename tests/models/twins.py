"""A model of PyTorch's with the same layers and weights, made from one of ours: images stay (N, H, W, C) outside."""

import math

import numpy as np

import fastconv as fc
from fastconv import nn


def twin(torch, layer):
    """Return the module that computes as `layer` does, in its type, on (N, C, H, W)."""
    there = torch.nn
    dtype = torch.float64 if layer.dtype == np.float64 else torch.float32

    class Function(there.Module):
        def __init__(self, function, *modules):
            super().__init__()
            self.function, self.parts = function, there.ModuleList(modules)

        def forward(self, x):
            return self.function(x, *self.parts)

    def parameter(value, *axes):
        array = fc.to_numpy(value.data)
        return there.Parameter(torch.tensor(np.ascontiguousarray(array.transpose(axes) if axes else array)))

    def conv(one):
        (top, bottom), (left, right) = (
            one.padding if one.padding != "same" else [[size // 2] * 2 for size in one.kernel_size]
        )
        assert (top, left) == (bottom, right)
        made = there.Conv2d(
            *(one.weight.shape[2] * one.groups, one.out_channels, one.kernel_size, one.stride, (top, left)),
            *(one.dilation, one.groups, one.bias is not None),
        )
        made.weight = parameter(one.weight, 3, 2, 0, 1)
        if one.bias is not None:
            made.bias = parameter(one.bias)
        return made

    def dense(one):
        made = there.Linear(*one.weight.shape, one.bias is not None)
        made.weight = parameter(one.weight, 1, 0)
        if one.bias is not None:
            made.bias = parameter(one.bias)
        return made

    def norm(one):
        made = there.BatchNorm2d(one.gamma.shape[0], one.eps, one.momentum)
        made.weight, made.bias = parameter(one.gamma), parameter(one.beta)
        if not one.scale:
            ones = made.weight.data
            del made.weight
            made.register_buffer("weight", ones)
        return made

    def max_pool(one):
        def pool(x):
            (top, bottom), (left, right) = one.windows_of((1, *x.shape[2:], 1)).padding
            if (top, left) == (bottom, right):
                how = (one.kernel_size, one.stride, (top, left), one.dilation, one.ceil_mode)
                return there.functional.max_pool2d(x, *how)
            x = there.functional.pad(x, (left, right, top, bottom), value=-torch.inf)
            return there.functional.max_pool2d(x, one.kernel_size, one.stride)

        return Function(pool)

    def make(one):
        if isinstance(one, nn.Sequential):
            return there.Sequential(*map(make, one.layers))
        if isinstance(one, nn.Residual):
            return Function(lambda x, body, shortcut: body(x) + shortcut(x), make(one.body), make(one.shortcut))
        if isinstance(one, nn.Parallel):
            parts = [make(child) for _, child in one.children()]
            return Function(lambda x, *branches: torch.cat([branch(x) for branch in branches], 1), *parts)
        return plain[type(one)](one)

    def subsample(one):
        def change(x):
            extra = one.out_channels - x.shape[1]
            x = x[:, :, :: one.stride[0], :: one.stride[1]]
            return there.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))

        return Function(change)

    plain = {
        nn.Conv2d: conv,
        nn.Dense: dense,
        nn.BatchNorm2d: norm,
        nn.MaxPool2d: max_pool,
        nn.SubsamplePad: subsample,
        nn.ReLU: lambda one: there.ReLU(),
        nn.Tanh: lambda one: there.Tanh(),
        nn.GELU: lambda one: there.GELU(),
        nn.Scale: lambda one: Function(lambda x: one.factor * x),
        nn.Identity: lambda one: there.Identity(),
        nn.Dropout: lambda one: there.Dropout(one.p),
        nn.AvgPool2d: lambda one: there.AvgPool2d(one.kernel_size, one.stride),
        nn.Flatten: lambda one: Function(lambda x: x.permute(0, 2, 3, 1).flatten(1)),
        nn.LocalResponseNorm: lambda one: there.LocalResponseNorm(one.size, one.alpha, one.beta, one.k),
        nn.GlobalAvgPool2d: lambda one: Function(lambda x: x.mean((2, 3))),
        nn.GlobalMaxPool2d: lambda one: Function(lambda x: x.amax((2, 3))),
    }
    made = Function(lambda x, inner: inner(x.permute(0, 3, 1, 2)), make(layer)).to(dtype)
    assert sum(p.numel() for p in made.parameters()) == sum(math.prod(p.shape) for p in layer.parameters())
    return made


def to_ours(value):
    """Return a gradient of PyTorch's in the axes of ours."""
    value = value.numpy()
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
