"""Operations with a number for each channel: adding a bias, and the rectifier whose slope is learned."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import launch_over_rows, typed
from .reduce import sum_by_parts, sum_rows


def add_bias(device, x, bias, *, out):
    """Add the same number to all elements of a channel."""
    _launch(device, "add_bias_rows", x, bias, out)


def prelu(device, x, slope, *, out):
    """Multiply what is not positive by the slope."""
    _launch(device, "prelu_rows", x, slope, out, slope.size)


def prelu_backward(device, grad_output, x, slope, *, out, grad_slope, workspace):
    """Gradients of `prelu`; of one slope for all the sums of the channels are added at last."""
    kernel, channels = typed("channels.cu", "prelu_gradient", x.dtype), x.shape[-1]
    each = grad_slope if slope.size == channels else workspace.empty((channels,), x.dtype)
    sum_by_parts(device, kernel, (grad_output, x, slope, out), (np.int32(slope.size),), each, workspace)
    if each is not grad_slope:
        sum_rows(device, each.reshape(-1, 1), out=grad_slope, workspace=workspace)


def _launch(device, name, x, values, out, *more):
    launch_over_rows(device, typed("channels.cu", name, x.dtype), (x, values, out), x.shape, x.shape[-1], *more)
