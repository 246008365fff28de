"""Normalisations folded into the convolutions before them, for inference.

With ``y = gamma * (conv(x) - mean) / sqrt(var + eps) + beta`` the folded convolution has

    weight' = weight * gamma / sqrt(var + eps),    bias' = beta + (bias - mean) * gamma / sqrt(var + eps)
"""

from __future__ import annotations

import copy

import numpy as np

from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d


def folded(conv: Conv2d, norm: BatchNorm2d) -> Conv2d:
    """Return a convolution with the normalisation in it, with a weight and bias of its own."""
    result = copy.copy(conv)
    result.fold(*folded_values(conv, norm))
    return result


def folded_values(conv: Conv2d, norm: BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return its weight and bias, computed in float64."""
    host = conv.backend.to_numpy
    gamma, beta, mean, var = (
        host(tensor.array).astype(np.float64) for tensor in (norm.gamma, norm.beta, norm.running_mean, norm.running_var)
    )
    factor = gamma / np.sqrt(var + norm.eps)
    bias = 0.0 if conv.bias is None else host(conv.bias.array).astype(np.float64)
    return host(conv.weight.array) * factor, beta + (bias - mean) * factor
