"""Fusions: operations that do in one pass over memory what others do in several. The rules of operations.py hold.

Each is an operation of its own name. The defaults here compose the parts, so a backend has all of them from the start;
the TABLE of its kernels says which it has natively. A result may differ from that of the parts by rounding only. Mean
and variance may have a second row everywhere, see `Operations.batch_norm`.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.contract.operations import Operations
from fastconv.backends.contract.types import (
    AlgorithmChoice,
    Array,
    ConvGeometry,
    PoolWindows,
    Precision,
    PreparedWeight,
    Workspace,
)
from fastconv.kernels.pointwise import RELU


class FusedOperations(Operations):
    """The fused operations, composed of the others."""

    def conv2d_relu(
        self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array, workspace: Workspace
    ) -> None:
        """``relu(conv2d(x, weight, bias))``."""
        self.conv2d(x, weight, bias, out=out, workspace=workspace)
        self.activate(RELU, out, out=out)

    def conv2d_add_relu(
        self, x: Array, weight: PreparedWeight, bias: Array | None, addend: Array, *, out: Array, workspace: Workspace
    ) -> None:
        """``relu(conv2d(x, weight, bias) + addend)``: the end of a residual block whose normalisation was folded."""
        self.conv2d(x, weight, bias, out=out, workspace=workspace)
        self.add(out, addend, out=out)
        self.activate(RELU, out, out=out)

    def conv2d_statistics(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        """`conv2d`, and the mean and biased variance of each channel of its result, as `batch_norm` computes them.

        Parameters
        ----------
        out : (N, P, Q, K) array with at least one element a channel, written
            Of the type of x, or of `kept_dtype`.
        mean, var : (K,) or (2, K) arrays, written
        """
        self.conv2d(x, weight, bias, out=out, workspace=workspace)
        zeros, not_wanted = workspace.empty(mean.shape[-1:], out.dtype), workspace.empty(out.shape, out.dtype)
        self.fill(0.0, out=zeros)
        self.batch_norm(out, zeros, zeros, eps=1.0, out=not_wanted, mean=mean, var=var, workspace=workspace)

    def conv2d_relu_max_pool2d(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        windows: PoolWindows,
        out: Array,
        argmax: Array,
        workspace: Workspace,
    ) -> None:
        """``max_pool2d(relu(conv2d(x, weight, bias)))``; `out` and `argmax` as of `max_pool2d`.

        `windows` are those of the pooling.
        """
        size = weight.geometry.output_size(*x.shape[1:3])
        y = workspace.empty((x.shape[0], *size, weight.weight.shape[3]), out.dtype)
        self.conv2d_relu(x, weight, bias, out=y, workspace=workspace)
        self.max_pool2d(y, windows=windows, out=out, argmax=argmax)

    def conv2d_backward_input_relu(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        y: Array,
        *,
        out: Array,
        grad_bias: Array | None,
        workspace: Workspace,
    ) -> None:
        """``relu_backward(conv2d_backward_input(grad_output, weight), y)``, for a convolution of ``y = relu(z + b)``.

        Parameters
        ----------
        y : (N, H, W, C) array
            The input of the convolution.
        out : (N, H, W, C) array, written
            Gradient of z.
        grad_bias : (C,) array, written, or None
            Gradient of b: the sum of `out` over all axes but the last.
        """
        self.conv2d_backward_input(grad_output, weight, out=out, workspace=workspace)
        if grad_bias is None:
            self.activate_backward(RELU, out, y, out=out)
        else:
            self.relu_backward_bias(out, y, out=out, grad_bias=grad_bias, workspace=workspace)

    def conv2d_backward_input_add(
        self, grad_output: Array, weight: PreparedWeight, addend: Array, *, out: Array, workspace: Workspace
    ) -> None:
        """``conv2d_backward_input(grad_output, weight) + addend``: where the paths of a shortcut meet.

        `addend` and `out` are (N, H, W, C) arrays, and may be the same one.
        """
        part = workspace.empty(out.shape, out.dtype)
        self.conv2d_backward_input(grad_output, weight, out=part, workspace=workspace)
        self.add(part, addend, out=out)

    def conv2d_max_pool2d_backward(
        self,
        grad_output: Array,
        argmax: Array,
        x: Array,
        weight: PreparedWeight | None,
        *,
        geometry: ConvGeometry,
        windows: PoolWindows,
        precision: Precision,
        algorithm: AlgorithmChoice,
        grad_weight: Array,
        grad_input: Array | None,
        rectified: bool,
        grad_bias: Array | None,
        workspace: Workspace,
    ) -> None:
        """Gradients of weight and input of ``max_pool2d(conv2d(x, weight))``; see its forward.

        Parameters
        ----------
        grad_output, argmax : (N, P, Q, K) arrays
            Of the pooling's result.
        weight : PreparedWeight or None
            For `conv2d_backward_input`; None without `grad_input`.
        geometry : ConvGeometry
            Of the convolution.
        windows : PoolWindows
        grad_weight : (R, S, C / groups, K) array, written
        grad_input : (N, H, W, C) array, written, or None
        rectified : bool
            Whether x is the result of a rectifier, whose gradient `grad_input` is to be behind.
        grad_bias : (C,) array, written, or None
            The sum of `grad_input` over all pixels; only if `rectified`.
        """
        size = geometry.output_size(*x.shape[1:3])
        grad = workspace.empty((x.shape[0], *size, grad_weight.shape[3]), grad_output.dtype)
        self.max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
        how: Any = {"geometry": geometry, "precision": precision, "algorithm": algorithm}
        self.conv2d_backward_weight(grad, x, **how, out=grad_weight, workspace=workspace)
        if weight is None or grad_input is None:
            return
        if rectified:
            self.conv2d_backward_input_relu(grad, weight, x, out=grad_input, grad_bias=grad_bias, workspace=workspace)
        else:
            self.conv2d_backward_input(grad, weight, out=grad_input, workspace=workspace)

    def conv2d_backward_input_norm_relu(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        addend: Array | None,
        y: Array,
        x: Array,
        *,
        mean: Array,
        var: Array,
        eps: float,
        out: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        """Gradient behind ``y = relu(batch_norm(x))`` where a convolution of y is next, and those of gamma and beta.

        ``out = relu_backward(conv2d_backward_input(grad_output, weight) + addend, y)``; over all pixels, ``grad_beta``
        is the sum of `out`, and ``grad_gamma`` that of ``out * (x - mean) / sqrt(var + eps)``. y may have had a
        shortcut added before the rectifier. `batch_norm_backward_apply` gives the gradient of x.

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
        addend : (N, H, W, C) array or None
            `out` may be the same one.
        y, x : (N, H, W, C) arrays
        mean, var : (C,) or (2, C) arrays
        out : (N, H, W, C) array, written
        grad_gamma, grad_beta : (C,) arrays, written
        """
        part = workspace.empty(out.shape, out.dtype)
        self.conv2d_backward_input(grad_output, weight, out=part, workspace=workspace)
        if addend is not None:
            self.add(part, addend, out=part)
        self.activate_backward(RELU, part, y, out=out)
        grads = {"grad_input": part, "grad_gamma": grad_gamma, "grad_beta": grad_beta}  # the first is not wanted
        any_gamma = mean.reshape(-1)[: grad_gamma.size]
        self.batch_norm_backward(out, x, any_gamma, mean, var, eps=eps, **grads, workspace=workspace)

    def batch_norm_backward_apply(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        grad_gamma: Array,
        grad_beta: Array,
        eps: float,
        grad_input: Array,
        workspace: Workspace,
    ) -> None:
        """The second pass of `batch_norm_backward`: the gradient of x from those of gamma and beta.

        With M pixels and ``rstd = 1 / sqrt(var + eps)``::

            grad_input = gamma * rstd * (grad_output - grad_beta / M - (x - mean) * rstd * grad_gamma / M)

        Only `grad_input` is written.
        """
        not_wanted = {name: workspace.empty(gamma.shape, gamma.dtype) for name in ("grad_gamma", "grad_beta")}
        grads = {"grad_input": grad_input, **not_wanted}
        self.batch_norm_backward(grad_output, x, gamma, mean, var, eps=eps, **grads, workspace=workspace)

    def normalise_relu(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float, out: Array
    ) -> None:
        """``relu(batch_norm_inference(x))``: the second pass of a batch normalisation, with its activation."""
        self.batch_norm_inference(x, gamma, beta, mean, var, eps=eps, out=out)
        self.activate(RELU, out, out=out)

    def normalise_add_relu(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, residual: Array, *, eps: float, out: Array
    ) -> None:
        """``relu(batch_norm_inference(x) + residual)``: the end of a residual block."""
        self.batch_norm_inference(x, gamma, beta, mean, var, eps=eps, out=out)
        self.add(out, residual, out=out)
        self.activate(RELU, out, out=out)

    def normalise_relu_max_pool2d(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        windows: PoolWindows,
        out: Array,
        argmax: Array,
        workspace: Workspace,
    ) -> None:
        """``max_pool2d(relu(batch_norm_inference(x)))``; `out` and `argmax` as of `max_pool2d`."""
        y = workspace.empty(x.shape, out.dtype)
        self.normalise_relu(x, gamma, beta, mean, var, eps=eps, out=y)
        self.max_pool2d(y, windows=windows, out=out, argmax=argmax)

    def relu_backward_bias(
        self, grad_output: Array, y: Array, *, out: Array, grad_bias: Array, workspace: Workspace
    ) -> None:
        """``out = relu_backward(grad_output, y)`` and ``grad_bias = sum_rows(out)``."""
        self.activate_backward(RELU, grad_output, y, out=out)
        self.sum_rows(out, out=grad_bias, workspace=workspace)

    def batch_norm_relu_backward(
        self,
        grad_output: Array,
        y: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        """Gradients of ``y = relu(batch_norm(x))``: a pass for the sums, a pass that applies them."""
        masked = workspace.empty(y.shape, y.dtype)
        self.activate_backward(RELU, grad_output, y, out=masked)
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        self.batch_norm_backward(masked, x, gamma, mean, var, eps=eps, **grads, workspace=workspace)

    def batch_norm_add_relu_backward(
        self,
        grad_output: Array,
        y: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
        grad_residual: Array,
        workspace: Workspace,
    ) -> None:
        """Gradients of ``y = relu(batch_norm(x) + residual)``; `grad_residual` may be `grad_output`."""
        self.activate_backward(RELU, grad_output, y, out=grad_residual)
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        self.batch_norm_backward(grad_residual, x, gamma, mean, var, eps=eps, **grads, workspace=workspace)

    def batch_norm_relu_max_pool2d_backward(
        self,
        grad_output: Array,
        y: Array,
        argmax: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        windows: PoolWindows,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        """Gradients of ``max_pool2d(relu(batch_norm(x)))``, whose results are `y` and `argmax`.

        The largest value of a window is positive exactly where the rectifier passed it, so relu(x) itself is not
        needed.
        """
        masked, grad = workspace.empty(y.shape, y.dtype), workspace.empty(x.shape, y.dtype)
        self.activate_backward(RELU, grad_output, y, out=masked)
        self.max_pool2d_backward(masked, argmax, windows=windows, out=grad)
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        self.batch_norm_backward(grad, x, gamma, mean, var, eps=eps, **grads, workspace=workspace)
