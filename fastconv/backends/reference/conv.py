"""Reference of convolution and dense layers: one matrix product per kernel tap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.composing import Composing
from fastconv.backends.contract.types import (
    AlgorithmChoice,
    Array,
    ConvGeometry,
    Direction,
    Pair,
    PoolWindows,
    PrecisionChoice,
    PreparedWeight,
    Shape,
    Workspace,
)
from fastconv.backends.reference.norm import sum_of_rows
from fastconv.kernels.algorithm import Algorithm

Slices = tuple[slice, slice]
_REFERENCE = Algorithm("reference", "reference")


def taps(windows: ConvGeometry | PoolWindows, size: Pair, out_size: Pair) -> Iterator[tuple[Pair, Slices, Slices]]:
    """Yield ``(r, s)`` with the rows and columns of the output and of the input that this tap connects.

    Only pairs inside the input: a padded cell is never multiplied, so no ``0 * inf`` appears.
    """
    axes = zip(windows.kernel_size, size, out_size, windows.stride, windows.padding, windows.dilation, strict=True)
    rows, columns = ([_reach(k * d - lo, n, m, step) for k in range(count)] for count, n, m, step, (lo, _), d in axes)
    for (r, (out_row, in_row)), (s, (out_column, in_column)) in itertools.product(enumerate(rows), enumerate(columns)):
        yield (r, s), (out_row, out_column), (in_row, in_column)


def _reach(offset: int, size: int, out_size: int, stride: int) -> tuple[slice, slice]:
    """Output cells p with ``0 <= p * stride + offset < size``, and the input cells they meet."""
    first = max(0, -(offset // stride))
    last = min(out_size, (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)


def _by_group(a: np.ndarray, groups: int) -> np.ndarray:
    """(..., C) -> (groups, M, C // groups), one matrix per group."""
    rows = a.size // a.shape[-1]
    return a.reshape(rows, groups, a.shape[-1] // groups).transpose(1, 0, 2)


def _weight_by_group(tap: np.ndarray, groups: int) -> np.ndarray:
    """(C // groups, K) -> (groups, C // groups, K // groups)."""
    return tap.reshape(tap.shape[0], groups, tap.shape[1] // groups).transpose(1, 0, 2)


def _joined(product: np.ndarray, shape: Shape) -> np.ndarray:
    """Undo `_by_group`."""
    return product.transpose(1, 0, 2).reshape(shape)


class NumpyConv(Backend):
    """Convolution and dense layers."""

    def prepare_conv2d_weight(
        self,
        weight: Array,
        *,
        geometry: ConvGeometry,
        input_shape: Shape,
        precision: PrecisionChoice,
        algorithm: AlgorithmChoice,
        workspace: Workspace,
    ) -> PreparedWeight:
        return PreparedWeight(weight, _REFERENCE, geometry=geometry)

    @Composing
    @np.errstate(all="ignore")
    def conv2d(self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array) -> None:
        w, groups = weight.weight, weight.geometry.groups
        out[...] = 0 if bias is None else bias
        for (r, s), (p, q), (h, v) in taps(weight.geometry, x.shape[1:3], out.shape[1:3]):
            product = _by_group(x[:, h, v], groups) @ _weight_by_group(w[r, s], groups)
            target = out[:, p, q]
            target += _joined(product, target.shape)

    @Composing
    @np.errstate(all="ignore")
    def conv2d_backward_input(
        self, grad_output: Array, weight: PreparedWeight, *, bias: Array | None = None, out: Array
    ) -> None:
        w, groups = weight.weight, weight.geometry.groups
        out[...] = 0 if bias is None else bias
        for (r, s), (p, q), (h, v) in taps(weight.geometry, out.shape[1:3], grad_output.shape[1:3]):
            transposed = _weight_by_group(w[r, s], groups).transpose(0, 2, 1)
            target = out[:, h, v]
            target += _joined(_by_group(grad_output[:, p, q], groups) @ transposed, target.shape)

    @np.errstate(all="ignore")
    def conv2d_backward_weight(
        self,
        grad_output: Array,
        x: Array,
        *,
        geometry: ConvGeometry,
        precision: PrecisionChoice,
        algorithm: AlgorithmChoice,
        out: Array,
        workspace: Workspace,
    ) -> None:
        for (r, s), (p, q), (h, v) in taps(geometry, x.shape[1:3], grad_output.shape[1:3]):
            transposed = _by_group(x[:, h, v], geometry.groups).transpose(0, 2, 1)
            out[r, s] = _joined(transposed @ _by_group(grad_output[:, p, q], geometry.groups), out.shape[2:])

    def sum_rows(self, x: Array, *, out: Array, workspace: Workspace) -> None:
        out[...] = sum_of_rows(x)

    def prepare_dense_weight(
        self, weight: Array, *, direction: Direction, batch: int, precision: PrecisionChoice, workspace: Workspace
    ) -> PreparedWeight:
        return PreparedWeight(weight, _REFERENCE)

    @np.errstate(all="ignore")
    def dense(self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array, workspace: Workspace) -> None:
        out[...] = x @ weight.weight
        if bias is not None:
            out += bias

    @np.errstate(all="ignore")
    def dense_backward_input(
        self, grad_output: Array, weight: PreparedWeight, *, out: Array, workspace: Workspace
    ) -> None:
        out[...] = grad_output @ weight.weight.T

    @np.errstate(all="ignore")
    def dense_backward_weight(
        self, grad_output: Array, x: Array, *, precision: PrecisionChoice, out: Array, workspace: Workspace
    ) -> None:
        out[...] = x.T @ grad_output
