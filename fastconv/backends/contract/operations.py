"""What every backend computes, and the only full documentation of each operation.

Convolutions with what follows them are in fused.py, batch normalisation in normalisation.py, each with how it is
composed of its parts. Losses are in losses.py, operations of single layers in layers.py, those of images on their way
in and of optimizers in training.py.

Rules that hold for all of them:

- Activations are NHWC, convolution weights HWIO ``(kernel_h, kernel_w, in_channels // groups, out_channels)``, dense
  weights ``(in_features, out_features)``. Convolution is cross-correlation.
- Arguments arrive validated and normalised (`fastconv.functional` is the only validator): arrays are C-contiguous and
  of one floating type, float32 or float64; pairs are ``(h, w)``. A convolution's geometry comes with its weight.
- Results go into the arrays given as `out` (or by their own names). Inputs are never written and never overlap a
  result unless the operation says so. Scratch memory comes from `workspace` alone.
- An empty batch gives empty activations and zero gradients of parameters.
- The same inputs give the same bits, whatever the number of threads: every output element has one owner, and sums over
  parts run in an order that depends on shapes only.
- Non-finite values come out as the formula says. Padded cells are skipped, not multiplied by zero.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from fastconv.backends.contract.training import TrainingOperations
from fastconv.backends.contract.types import (
    AlgorithmChoice,
    Array,
    ConvGeometry,
    Direction,
    Pair,
    PoolWindows,
    PrecisionChoice,
    PreparedWeight,
    RandomKey,
    Shape,
    Workspace,
)
from fastconv.kernels.pointwise import Activation


class Operations(TrainingOperations):
    """The operations that a backend implements; the module's text has the rules."""

    # Convolution

    def conv2d_reasons(
        self,
        weight: Array,
        *,
        geometry: ConvGeometry,
        input_shape: Shape,
        precision: PrecisionChoice,
        algorithm: AlgorithmChoice,
    ) -> Sequence[str]:
        """Say for each direction which algorithm a convolution gets and why; nothing if there is no choice."""
        return ()

    @abc.abstractmethod
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
        """Choose the kernel for one direction of a convolution and bring the weight into its form.

        Parameters
        ----------
        weight : (R, S, C // groups, K) array
        geometry : ConvGeometry
            For `conv2d`; transposed for `conv2d_backward_input`.
        input_shape : (N, H, W, C), of the convolution's input
            The choice depends on shapes, `precision` and `algorithm` only.
        algorithm : what was asked for with `fastconv.set_algorithm`; a backend with one way for everything ignores it.
        """

    @abc.abstractmethod
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
        """Gradient of `conv2d` with respect to `weight`.

        ``grad_weight[r, s, c, k] = sum over n, p, q of grad_output[n, p, q, k]
        * x[n, p * stride_h - top + r * dilation_h, q * stride_w - left + s * dilation_w, g * (C // groups) + c]``

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
        x : (N, H, W, C) array
        out : (R, S, C // groups, K) array, written
        """

    @abc.abstractmethod
    def sum_rows(self, x: Array, *, out: Array, workspace: Workspace) -> None:
        """``out[k] = sum over all other axes of x[..., k]``; `out` is (K,). The gradient of a bias, given that of y.

        Off by at most ``200 u * sum |x|`` (u is half the type's eps), with up to 2^30 terms.
        """

    # Dense

    @abc.abstractmethod
    def prepare_dense_weight(
        self, weight: Array, *, direction: Direction, batch: int, precision: PrecisionChoice, workspace: Workspace
    ) -> PreparedWeight:
        """Bring a dense weight, (C, K), into the form that `dense` or `dense_backward_input` wants."""

    @abc.abstractmethod
    def dense(self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array, workspace: Workspace) -> None:
        """``y[n, k] = bias[k] + sum over c of x[n, c] * weight[c, k]``; x (N, C), bias (K,) or None, out (N, K)."""

    @abc.abstractmethod
    def dense_backward_input(
        self, grad_output: Array, weight: PreparedWeight, *, out: Array, workspace: Workspace
    ) -> None:
        """``grad_input[n, c] = sum over k of grad_output[n, k] * weight[c, k]``; out (N, C)."""

    @abc.abstractmethod
    def dense_backward_weight(
        self, grad_output: Array, x: Array, *, precision: PrecisionChoice, out: Array, workspace: Workspace
    ) -> None:
        """``grad_weight[c, k] = sum over n of x[n, c] * grad_output[n, k]``; out (C, K)."""

    # Pooling

    @abc.abstractmethod
    def max_pool2d(self, x: Array, *, windows: PoolWindows, out: Array, argmax: Array) -> None:
        """Largest value of each window; padded cells never win. `ceil_mode` shows in the shape of `out` alone.

        Ties take the first cell, row by row; a NaN wins over every number, the first NaN over later ones.

        Parameters
        ----------
        x : (N, H, W, C) array
        out : (N, P, Q, C) array, written
        argmax : (N, P, Q, C) array, written
            Position ``r * kernel_w + s`` in the window: uint8, or int32 for windows of more than 256 cells.
        """

    @abc.abstractmethod
    def max_pool2d_backward(self, grad_output: Array, argmax: Array, *, windows: PoolWindows, out: Array) -> None:
        """Gradient of `max_pool2d`: each value goes to the cell that won.

        ``grad_input[n, h, w, c] = sum of grad_output[n, p, q, c] over the windows p, q whose argmax is the cell
        (h, w)``, in ascending order of ``p, q``: a gather, without atomics. `out` is (N, H, W, C).
        """

    @abc.abstractmethod
    def avg_pool2d(self, x: Array, *, windows: PoolWindows, out: Array) -> None:
        """Mean of each window.

        ``y[n, p, q, c] = sum over the cells of the window that lie in x / count``. The count is that of the window's
        cells inside the padded input if `count_include_pad`, else of those inside `x`; cells beyond the padding, which
        a rounded-up output size can reach, never count. (ONNX AveragePool,
        https://onnx.ai/onnx/operators/onnx__AveragePool.html)

        Off by at most ``40 u * sum |x| / count`` (u is half the type's eps), however large the window, if
        ``sum |x|`` is in range.
        """

    @abc.abstractmethod
    def avg_pool2d_backward(self, grad_output: Array, *, windows: PoolWindows, out: Array) -> None:
        """Gradient of `avg_pool2d`: each value spread over its window, divided by the same count; out (N, H, W, C).

        Off by at most ``40 u * sum |grad_output| / count``.
        """

    # Pointwise functions: those of `fastconv.kernels.pointwise`, which has their formulas

    @abc.abstractmethod
    def activate(self, activation: Activation, x: Array, *, out: Array) -> None:
        """``y = f(x)``, element by element, in any shape; `out` may be `x`.

        A function with an exponential is off by a few roundings of the largest term of its formula.

        Parameters
        ----------
        activation : the function and the values of its parameters
        """

    @abc.abstractmethod
    def activate_backward(self, activation: Activation, grad_output: Array, saved: Array, *, out: Array) -> None:
        """Gradient of `activate`, by the function's own formula.

        Parameters
        ----------
        saved : y of `activate` where the function says so (``needs``), else x; `out` may be it, or `grad_output`
        """

    # Elementwise and moving data

    @abc.abstractmethod
    def add(self, a: Array, b: Array, *, out: Array) -> None:
        """``a + b``, equal shapes; `out` may be `a` or `b` (gradients accumulate so)."""

    @abc.abstractmethod
    def scale(self, x: Array, *, factor: float, out: Array) -> None:
        """``factor * x``; `out` may be `x`."""

    @abc.abstractmethod
    def clip(self, x: Array, *, limit: float, out: Array) -> None:
        """``min(max(x, -limit), limit)``, NaN staying; `out` may be `x`."""

    @abc.abstractmethod
    def sum_squares(self, x: Array, *, out: Array, workspace: Workspace) -> None:
        """``out[0] = sum of x**2``; `out` is (1,), float64.

        Up to 32 squares are added in the array's own type, in which each must be in range, all else in float64: off by
        at most ``80 u`` of itself (u is half the type's eps); ``300 u`` of arrays in float64.
        """

    @abc.abstractmethod
    def clip_norm(self, x: Array, squares: Array, *, limit: float, out: Array) -> None:
        """``x * min(1, limit / (sqrt(sum of squares) + 1e-6))``, as PyTorch's ``clip_grad_norm_``; `out` may be `x`.

        `squares` is (parts,), float64. Where their sum is infinite, the factor is 0; where it is NaN, so is all
        but what is 0.
        """

    @abc.abstractmethod
    def copy(self, x: Array, *, out: Array) -> None:
        """Copy `x` into `out`, equal shapes and types."""

    @abc.abstractmethod
    def fill(self, value: float, *, out: Array) -> None:
        """Set every element of `out` to `value`."""

    @abc.abstractmethod
    def concatenate(self, arrays: Sequence[Array], *, out: Array) -> None:
        """Join along the last axis: ``out[..., :] = arrays[0][..., :], arrays[1][..., :], ...``."""

    @abc.abstractmethod
    def split(self, x: Array, *, outs: Sequence[Array]) -> None:
        """Gradient of `concatenate`: cut the last axis into the widths of `outs`."""

    @abc.abstractmethod
    def subsample_pad(self, x: Array, *, stride: Pair, before: int, out: Array) -> None:
        """Every stride-th pixel, with channels of zeros before and after: option A of He et al. 2015, arXiv:1512.03385.

        ``y[n, p, q, before + c] = x[n, p * stride_h, q * stride_w, c]``, zero in the other channels; x (N, H, W, C),
        out (N, ceil(H / stride_h), ceil(W / stride_w), K) with ``K >= before + C``.
        """

    @abc.abstractmethod
    def subsample_pad_backward(self, grad_output: Array, *, stride: Pair, before: int, out: Array) -> None:
        """Gradient of `subsample_pad`: that of the copied channels, zero at the pixels left out; out (N, H, W, C)."""

    # Random numbers

    @abc.abstractmethod
    def dropout(self, x: Array, *, p: float, key: RandomKey, out: Array) -> None:
        """Zero elements with probability `p`, multiply the others by ``1 / (1 - p)`` (Srivastava et al., JMLR 2014).

        Element i (C order) takes word ``i % 4`` of the Philox block ``i // 4`` under `key`, and is kept where that word
        is at least ``floor(p * 2**32)``. The gradient is the same operation on grad_output with the same key.
        """
