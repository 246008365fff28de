"""Reference of the pointwise functions: NumPy's formulas, under the names of `fastconv.kernels.pointwise`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.pointwise import Activation

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))  # at most 1, so it cannot overflow
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """``Phi(x)``; the complementary error function keeps the digits of the left tail."""
    return np.asarray(_erfc(-x.astype(np.float64) / math.sqrt(2)) / 2)


def _normal_density(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi))


# y of x and the parameters; the gradient of x from that of y, x or y, and the parameters.
_FORMULAS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "relu": (
        lambda x: np.maximum(x, 0),
        lambda g, y: np.where(y <= 0, 0, g),
    ),
    "leaky_relu": (
        lambda x, slope: np.where(x > 0, x, slope * x),
        lambda g, x, slope: np.where(x > 0, g, slope * g),
    ),
    "elu": (
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
        lambda g, x, alpha: g * np.where(x > 0, 1, alpha * np.exp(x)),
    ),
    "gelu": (
        lambda x: x * _normal_cdf(x),
        lambda g, x: g * (_normal_cdf(x) + x * _normal_density(x)),
    ),
    "silu": (
        lambda x: x * _sigmoid(x),
        lambda g, x: g * _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
    ),
    "sigmoid": (
        _sigmoid,
        lambda g, y: g * y * (1 - y),
    ),
    "tanh": (
        np.tanh,
        lambda g, y: g * (1 - y * y),
    ),
    "mish": (
        lambda x: x * np.tanh(np.logaddexp(0, x)),
        lambda g, x: g * (np.tanh(np.logaddexp(0, x)) + x * _sigmoid(x) / np.cosh(np.logaddexp(0, x)) ** 2),
    ),
    "softplus": (
        lambda x, beta, threshold: np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta),
        lambda g, x, beta, threshold: g * np.where(beta * x > threshold, 1, _sigmoid(beta * x)),
    ),
    "hardswish": (
        lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6)),
        lambda g, x: np.where(x <= -3, 0, np.where(x >= 3, g, g * (x / 3 + 0.5))),
    ),
}


class NumpyPointwise(Backend):
    """Pointwise functions and their gradients."""

    @np.errstate(all="ignore")
    def activate(self, activation: Activation, x: Array, *, out: Array) -> None:
        forward, _ = _FORMULAS[activation.name]
        out[...] = forward(x, *activation.values)

    @np.errstate(all="ignore")
    def activate_backward(self, activation: Activation, grad_output: Array, saved: Array, *, out: Array) -> None:
        _, backward = _FORMULAS[activation.name]
        out[...] = backward(grad_output, saved, *activation.values)
