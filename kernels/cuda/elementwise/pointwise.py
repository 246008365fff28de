"""Activations and their gradients, elementwise; bound by memory, one pass."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import flat, typed


def _run(device, name, arrays, *parameters):
    """Launch ``name(*arrays, size, *parameters)``; the last array is the result."""
    x = arrays[0]
    if x.size:
        grid, block = flat(device, x.size, x.dtype)
        values = (x.dtype.type(value) for value in parameters)
        device.launch(typed("pointwise.cu", name, x.dtype), grid, block, (*arrays, np.int64(x.size), *values))


def relu(device, x, *, out):
    """Larger of x and 0."""
    _run(device, "relu_forward", (x, out))


def relu_backward(device, grad_output, y, *, out):
    """Gradient of `relu`."""
    _run(device, "relu_gradient", (grad_output, y, out))


def leaky_relu(device, x, *, slope, out):
    """Leaky rectifier."""
    _run(device, "leaky_relu_forward", (x, out), slope)


def leaky_relu_backward(device, grad_output, x, *, slope, out):
    """Gradient of `leaky_relu`."""
    _run(device, "leaky_relu_gradient", (grad_output, x, out), slope)


def elu(device, x, *, alpha, out):
    """Exponential linear unit."""
    _run(device, "elu_forward", (x, out), alpha)


def elu_backward(device, grad_output, x, *, alpha, out):
    """Gradient of `elu`."""
    _run(device, "elu_gradient", (grad_output, x, out), alpha)


def gelu(device, x, *, out):
    """Gaussian error linear unit."""
    _run(device, "gelu_forward", (x, out))


def gelu_backward(device, grad_output, x, *, out):
    """Gradient of `gelu`."""
    _run(device, "gelu_gradient", (grad_output, x, out))


def silu(device, x, *, out):
    """Sigmoid linear unit."""
    _run(device, "silu_forward", (x, out))


def silu_backward(device, grad_output, x, *, out):
    """Gradient of `silu`."""
    _run(device, "silu_gradient", (grad_output, x, out))


def sigmoid(device, x, *, out):
    """Logistic function."""
    _run(device, "sigmoid_forward", (x, out))


def sigmoid_backward(device, grad_output, y, *, out):
    """Gradient of `sigmoid`."""
    _run(device, "sigmoid_gradient", (grad_output, y, out))


def tanh(device, x, *, out):
    """Hyperbolic tangent."""
    _run(device, "tanh_forward", (x, out))


def tanh_backward(device, grad_output, y, *, out):
    """Gradient of `tanh`."""
    _run(device, "tanh_gradient", (grad_output, y, out))
