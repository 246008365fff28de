# ruff: noqa: D102 - the contract documents each operation
"""Reference of activations and of the operations that only add, scale or move data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Pair

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))  # at most 1, so it cannot overflow
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """``Phi(x)``; the complementary error function keeps the digits of the left tail."""
    return np.asarray(_erfc(-x.astype(np.float64) / math.sqrt(2)) / 2)


class NumpyElementwise(Backend):
    """Activations, sums, copies."""

    def relu(self, x: Array, *, out: Array) -> None:
        np.maximum(x, 0, out=out)

    def relu_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        out[...] = np.where(y <= 0, 0, grad_output)

    def leaky_relu(self, x: Array, *, slope: float, out: Array) -> None:
        out[...] = np.where(x > 0, x, slope * x)

    def leaky_relu_backward(self, grad_output: Array, x: Array, *, slope: float, out: Array) -> None:
        out[...] = np.where(x > 0, grad_output, slope * grad_output)

    @np.errstate(all="ignore")
    def elu(self, x: Array, *, alpha: float, out: Array) -> None:
        out[...] = np.where(x > 0, x, alpha * np.expm1(x))

    @np.errstate(all="ignore")
    def elu_backward(self, grad_output: Array, x: Array, *, alpha: float, out: Array) -> None:
        out[...] = grad_output * np.where(x > 0, 1, alpha * np.exp(x))

    @np.errstate(all="ignore")
    def gelu(self, x: Array, *, out: Array) -> None:
        out[...] = x * _normal_cdf(x)

    @np.errstate(all="ignore")
    def gelu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        wide = x.astype(np.float64)
        density = np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi)
        out[...] = grad_output * (_normal_cdf(x) + wide * density)

    @np.errstate(all="ignore")
    def silu(self, x: Array, *, out: Array) -> None:
        out[...] = x * _sigmoid(x)

    @np.errstate(all="ignore")
    def silu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        s = _sigmoid(x)
        out[...] = grad_output * s * (1 + x * (1 - s))

    @np.errstate(all="ignore")
    def sigmoid(self, x: Array, *, out: Array) -> None:
        out[...] = _sigmoid(x)

    @np.errstate(all="ignore")
    def sigmoid_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        out[...] = grad_output * y * (1 - y)

    def tanh(self, x: Array, *, out: Array) -> None:
        np.tanh(x, out=out)

    @np.errstate(all="ignore")
    def tanh_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        out[...] = grad_output * (1 - y * y)

    @np.errstate(all="ignore")
    def add(self, a: Array, b: Array, *, out: Array) -> None:
        np.add(a, b, out=out)

    @np.errstate(all="ignore")
    def scale(self, x: Array, *, factor: float, out: Array) -> None:
        np.multiply(x, factor, out=out)

    def copy(self, x: Array, *, out: Array) -> None:
        out[...] = x

    def fill(self, value: float, *, out: Array) -> None:
        out[...] = value

    def concatenate(self, arrays: Sequence[Array], *, out: Array) -> None:
        np.concatenate(arrays, axis=-1, out=out)

    def split(self, x: Array, *, outs: Sequence[Array]) -> None:
        begin = 0
        for out in outs:
            end = begin + out.shape[-1]
            out[...] = x[..., begin:end]
            begin = end

    def subsample_pad(self, x: Array, *, stride: Pair, before: int, out: Array) -> None:
        out[...] = 0
        out[..., before : before + x.shape[-1]] = x[:, :: stride[0], :: stride[1]]

    def subsample_pad_backward(self, grad_output: Array, *, stride: Pair, before: int, out: Array) -> None:
        out[...] = 0
        out[:, :: stride[0], :: stride[1]] = grad_output[..., before : before + out.shape[-1]]
