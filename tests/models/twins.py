"""A model of PyTorch's with the same layers and weights, made from one of ours: images stay (N, H, W, C) outside."""

import functools
import math

import numpy as np

import fastconv as fc
from fastconv import nn


@functools.cache
def _function(torch):
    """Return the class of modules that call a function, with modules of their own as its further arguments."""

    class Function(torch.nn.Module):
        def __init__(self, function, *modules):
            super().__init__()
            self.function, self.parts = function, torch.nn.ModuleList(modules)

        def forward(self, x):
            return self.function(x, *self.parts)

    return Function


def _parameter(torch, value, *axes):
    array = fc.to_numpy(value.data)
    return torch.nn.Parameter(torch.tensor(np.ascontiguousarray(array.transpose(axes) if axes else array)))


def _conv(torch, one):
    sides = one.padding if one.padding != "same" else [[size // 2] * 2 for size in one.kernel_size]
    (top, bottom), (left, right) = sides
    assert (top, left) == (bottom, right)
    made = torch.nn.Conv2d(
        *(one.weight.shape[2] * one.groups, one.out_channels, one.kernel_size, one.stride, (top, left)),
        *(one.dilation, one.groups, one.bias is not None),
    )
    made.weight = _parameter(torch, one.weight, 3, 2, 0, 1)
    if one.bias is not None:
        made.bias = _parameter(torch, one.bias)
    return made


def _dense(torch, one):
    made = torch.nn.Linear(*one.weight.shape, one.bias is not None)
    made.weight = _parameter(torch, one.weight, 1, 0)
    if one.bias is not None:
        made.bias = _parameter(torch, one.bias)
    return made


def _norm(torch, one):
    made = torch.nn.BatchNorm2d(one.gamma.shape[0], one.eps, one.momentum)
    made._check_input_dim = lambda x: None  # of (N, C) too, where channels are second as well
    made.weight, made.bias = _parameter(torch, one.gamma), _parameter(torch, one.beta)
    if not one.scale:
        ones = made.weight.data
        del made.weight
        made.register_buffer("weight", ones)
    for name in ("running_mean", "running_var"):
        getattr(made, name).copy_(_parameter(torch, getattr(one, name)).detach())
    return made


def _max_pool(torch, one):
    functional = torch.nn.functional
    if one.ceil_mode:
        sides = tuple(low for low, high in one.padding if low == high)  # else there is one too few
        return torch.nn.MaxPool2d(one.kernel_size, one.stride, sides, one.dilation, ceil_mode=True)

    def pool(x):
        (top, bottom), (left, right) = one.windows_of((1, *x.shape[2:], 1)).padding
        if (top, left) == (bottom, right):
            how = (one.kernel_size, one.stride, (top, left), one.dilation)
            return functional.max_pool2d(x, *how)
        x = functional.pad(x, (left, right, top, bottom), value=-torch.inf)
        return functional.max_pool2d(x, one.kernel_size, one.stride)

    return _function(torch)(pool)


def _subsample(torch, one):
    def change(x):
        extra = one.out_channels - x.shape[1]
        x = x[:, :, :: one.stride[0], :: one.stride[1]]
        return torch.nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))

    return _function(torch)(change)


_PLAIN = {
    nn.Conv2d: _conv,
    nn.Dense: _dense,
    nn.BatchNorm2d: _norm,
    nn.MaxPool2d: _max_pool,
    nn.SubsamplePad: _subsample,
    nn.ReLU: lambda torch, one: torch.nn.ReLU(),
    nn.Tanh: lambda torch, one: torch.nn.Tanh(),
    nn.GELU: lambda torch, one: torch.nn.GELU(),
    nn.Scale: lambda torch, one: _function(torch)(lambda x: one.factor * x),
    nn.Identity: lambda torch, one: torch.nn.Identity(),
    nn.Dropout: lambda torch, one: torch.nn.Dropout(one.p),
    nn.AvgPool2d: lambda torch, one: torch.nn.AvgPool2d(one.kernel_size, one.stride),
    nn.Flatten: lambda torch, one: _function(torch)(lambda x: x.permute(0, 2, 3, 1).flatten(1)),
    nn.LocalResponseNorm: lambda torch, one: torch.nn.LocalResponseNorm(one.size, one.alpha, one.beta, one.k),
    nn.GlobalAvgPool2d: lambda torch, one: _function(torch)(lambda x: x.mean((2, 3))),
    nn.GlobalMaxPool2d: lambda torch, one: _function(torch)(lambda x: x.amax((2, 3))),
}


def _make(torch, one):
    function = _function(torch)
    if isinstance(one, nn.Sequential):
        return torch.nn.Sequential(*(_make(torch, layer) for layer in one.layers))
    if isinstance(one, nn.Residual):
        parts = _make(torch, one.body), _make(torch, one.shortcut)
        return function(lambda x, body, shortcut: body(x) + shortcut(x), *parts)
    if isinstance(one, nn.Parallel):
        parts = [_make(torch, child) for _, child in one.children()]
        return function(lambda x, *branches: torch.cat([branch(x) for branch in branches], 1), *parts)
    return _PLAIN[type(one)](torch, one)


def twin(torch, layer):
    """Return the module that computes as `layer` does, in its type, on (N, C, H, W)."""
    dtype = torch.float64 if layer.dtype == np.float64 else torch.float32
    made = _function(torch)(lambda x, inner: inner(x.permute(0, 3, 1, 2)), _make(torch, layer)).to(dtype)
    assert sum(p.numel() for p in made.parameters()) == sum(math.prod(p.shape) for p in layer.parameters())
    return made


def to_ours(value):
    """Return a gradient of PyTorch's in the axes of ours."""
    value = value.numpy()
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
