"""Reference of the operations that add, scale or move data, and of those along channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Pair, Workspace
from fastconv.backends.reference.norm import sum_of_rows


class NumpyElementwise(Backend):
    """Sums, copies, rectifiers with slopes, softmax."""

    @np.errstate(all="ignore")
    def add(self, a: Array, b: Array, *, out: Array) -> None:
        np.add(a, b, out=out)

    @np.errstate(all="ignore")
    def scale(self, x: Array, *, factor: float, out: Array) -> None:
        np.multiply(x, factor, out=out)

    def clip(self, x: Array, *, limit: float, out: Array) -> None:
        np.clip(x, -limit, limit, out=out)

    @np.errstate(all="ignore")
    def sum_squares(self, x: Array, *, out: Array, workspace: Workspace) -> None:
        out[0] = np.square(x, dtype=np.float64).sum()

    @np.errstate(all="ignore")
    def clip_norm(self, x: Array, squares: Array, *, limit: float, out: Array) -> None:
        factor = np.minimum(1.0, limit / (np.sqrt(squares.sum()) + 1e-6))
        out[...] = np.where(x == 0, x, x * factor)

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

    @np.errstate(all="ignore")
    def add_bias(self, x: Array, bias: Array, *, out: Array) -> None:
        np.add(x, bias, out=out)

    @np.errstate(all="ignore")
    def prelu(self, x: Array, slope: Array, *, out: Array) -> None:
        out[...] = np.where(x > 0, x, slope * x)

    @np.errstate(all="ignore")
    def prelu_backward(
        self, grad_output: Array, x: Array, slope: Array, *, out: Array, grad_slope: Array, workspace: Workspace
    ) -> None:
        out[...] = np.where(x > 0, grad_output, slope * grad_output)
        each = np.where(x > 0, 0, grad_output.astype(np.float64) * x)
        grad_slope[...] = sum_of_rows(each) if slope.size == x.shape[-1] else each.sum()

    @np.errstate(all="ignore")
    def softmax(self, x: Array, *, out: Array) -> None:
        e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
        out[...] = e / e.sum(-1, keepdims=True)

    @np.errstate(all="ignore")
    def softmax_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        wide = y.astype(np.float64)
        out[...] = wide * (grad_output - (grad_output * wide).sum(-1, keepdims=True))
