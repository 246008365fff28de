"""Activations of `fastconv.functional`: each keeps the shape and the dtype, and takes any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv import _validate as check
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array


def relu(x: Array) -> Array:
    """``max(x, 0)``; NaN stays NaN."""
    backend = get_backend()
    return _forward(backend.relu, x)


def relu_backward(grad_output: Array, y: Array) -> Array:
    """``grad_output where y > 0, else 0``, with ``y = relu(x)``; x does as well."""
    backend = get_backend()
    return _backward(backend.relu_backward, grad_output, y, "y")


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """``x where x > 0, else slope * x``."""
    backend = get_backend()
    return _forward(backend.leaky_relu, x, slope=check.number(slope, "slope"))


def leaky_relu_backward(grad_output: Array, x: Array, slope: float = 0.01) -> Array:
    """``grad_output where x > 0, else slope * grad_output``."""
    backend = get_backend()
    return _backward(backend.leaky_relu_backward, grad_output, x, "x", slope=check.number(slope, "slope"))


def elu(x: Array, alpha: float = 1.0) -> Array:
    """``x where x > 0, else alpha * (exp(x) - 1)`` (Clevert et al. 2015, https://arxiv.org/abs/1511.07289)."""
    backend = get_backend()
    return _forward(backend.elu, x, alpha=check.number(alpha, "alpha"))


def elu_backward(grad_output: Array, x: Array, alpha: float = 1.0) -> Array:
    """``grad_output * (1 where x > 0, else alpha * exp(x))``."""
    backend = get_backend()
    return _backward(backend.elu_backward, grad_output, x, "x", alpha=check.number(alpha, "alpha"))


def gelu(x: Array) -> Array:
    """``x * (1 + erf(x / sqrt(2))) / 2``, the exact form (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""
    backend = get_backend()
    return _forward(backend.gelu, x)


def gelu_backward(grad_output: Array, x: Array) -> Array:
    """``grad_output * (Phi(x) + x * exp(-x**2 / 2) / sqrt(2 * pi))``, ``Phi(x) = (1 + erf(x / sqrt(2))) / 2``."""
    backend = get_backend()
    return _backward(backend.gelu_backward, grad_output, x, "x")


def silu(x: Array) -> Array:
    """``x * sigmoid(x)``, also called swish (https://arxiv.org/abs/1702.03118)."""
    backend = get_backend()
    return _forward(backend.silu, x)


def silu_backward(grad_output: Array, x: Array) -> Array:
    """``grad_output * s * (1 + x * (1 - s))`` with ``s = sigmoid(x)``."""
    backend = get_backend()
    return _backward(backend.silu_backward, grad_output, x, "x")


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, without overflow."""
    backend = get_backend()
    return _forward(backend.sigmoid, x)


def sigmoid_backward(grad_output: Array, y: Array) -> Array:
    """``grad_output * y * (1 - y)``, with ``y = sigmoid(x)``."""
    backend = get_backend()
    return _backward(backend.sigmoid_backward, grad_output, y, "y")


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    backend = get_backend()
    return _forward(backend.tanh, x)


def tanh_backward(grad_output: Array, y: Array) -> Array:
    """``grad_output * (1 - y**2)``, with ``y = tanh(x)``."""
    backend = get_backend()
    return _backward(backend.tanh_backward, grad_output, y, "y")


def _forward(operation: Callable[..., None], x: Array, **arguments: Any) -> Array:
    backend = get_backend()
    x = check.floating(backend, x, "x")
    out = backend.empty(x.shape, x.dtype)
    operation(x, **arguments, out=out)
    return out


def _backward(operation: Callable[..., None], grad_output: Array, saved: Array, name: str, **arguments: Any) -> Array:
    backend = get_backend()
    saved = check.floating(backend, saved, name)
    grad_output = check.like(backend, grad_output, "grad_output", saved, name)
    check.has_shape(grad_output, "grad_output", saved.shape, f"that of {name}")
    out = backend.empty(saved.shape, saved.dtype)
    operation(grad_output, saved, **arguments, out=out)
    return out
