"""The fused operations of the CPU backend; those of the contract say what each one does.

A convolution whose kernel has nothing fused behind it (depthwise, or with weights that are not finite; for pooling and
for gradients behind a rectifier, all but Winograd's 3x3) and a pooling other than 2x2 are composed of their parts: by
shapes and values, as `fastconv.explain` shows.
"""

# ruff: noqa: D102 (documented by the contract)

from __future__ import annotations

from typing import Any

from fastconv._shapes import Padding, Pair
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import AlgorithmChoice, Array, Precision, PreparedWeight, Workspace
from fastconv.kernels.cpu.conv import conv2d
from fastconv.kernels.cpu.conv.epilogue import Epilogue
from fastconv.kernels.cpu.elementwise import reduce
from fastconv.kernels.cpu.norm import batch_norm, batch_norm_gradient, normalise
from fastconv.kernels.cpu.pool.windows import suits_pool
from fastconv.kernels.cpu.vector import bf16_storage as stored


def _float_unless_stored(out: Array, weight: PreparedWeight, workspace: Workspace) -> Array:
    """Return `out` if the kernel of a weight can write to it, else an array of float32 to be converted to it."""
    if out.dtype != stored.STORED or weight.algorithm.bf16_storage:
        return out
    return workspace.empty(out.shape, weight.weight.dtype)


class NumbaFusedOperations(Backend):
    """Fused Numba kernels."""

    sums_norm_gradients = True

    def conv2d_relu(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        workspace: Workspace,
    ) -> None:
        geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        y = _float_unless_stored(out, weight, workspace)
        if not weight.algorithm.fuses:
            super().conv2d_relu(x, weight, bias, **geometry, out=y, workspace=workspace)
        else:
            conv2d.conv2d(x, weight, bias, **geometry, out=y, workspace=workspace, epilogue=Epilogue(0.0))
        if y is not out:
            stored.convert(y, out)

    def conv2d_add_relu(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        addend: Array,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        workspace: Workspace,
    ) -> None:
        geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if not weight.algorithm.fuses:
            super().conv2d_add_relu(x, weight, bias, addend, **geometry, out=out, workspace=workspace)
        else:
            conv2d.conv2d(x, weight, bias, **geometry, out=out, workspace=workspace, epilogue=Epilogue(0.0, addend))

    def conv2d_statistics(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        y = _float_unless_stored(out, weight, workspace)
        if not weight.algorithm.fuses:
            conv2d.conv2d(x, weight, bias, **geometry, out=y, workspace=workspace)
            batch_norm.statistics(y, mean, var, workspace)
        else:
            epilogue = Epilogue(statistics=(mean, var))
            conv2d.conv2d(x, weight, bias, **geometry, out=y, workspace=workspace, epilogue=epilogue)
        if y is not out:
            stored.convert(y, out)

    def conv2d_relu_max_pool2d(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        kernel_size: Pair,
        pool_stride: Pair,
        pool_padding: Padding,
        pool_dilation: Pair,
        out: Array,
        argmax: Array,
        workspace: Workspace,
    ) -> None:
        more: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        more |= {"kernel_size": kernel_size, "out": out, "argmax": argmax, "workspace": workspace}
        windows = (pool_stride, pool_padding, pool_dilation)
        if not conv2d.conv2d_relu_max_pool2d(x, weight, bias, **more, pool_geometry=windows):
            more |= {"pool_stride": pool_stride, "pool_padding": pool_padding, "pool_dilation": pool_dilation}
            super().conv2d_relu_max_pool2d(x, weight, bias, **more)

    def conv2d_backward_input_relu(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        y: Array,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        grad_bias: Array | None,
        workspace: Workspace,
    ) -> None:
        more: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        more |= {"out": out, "grad_bias": grad_bias, "workspace": workspace}
        if not conv2d.conv2d_backward_input_relu(grad_output, weight, y, **more):
            super().conv2d_backward_input_relu(grad_output, weight, stored.widened(y, workspace), **more)

    def conv2d_backward_input_add(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        addend: Array,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        workspace: Workspace,
    ) -> None:
        geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if not weight.algorithm.fuses:
            super().conv2d_backward_input_add(grad_output, weight, addend, **geometry, out=out, workspace=workspace)
        else:
            conv2d.conv2d_backward_input(grad_output, weight, **geometry, out=out, workspace=workspace, addend=addend)

    def conv2d_max_pool2d_backward(
        self,
        grad_output: Array,
        argmax: Array,
        x: Array,
        weight: PreparedWeight | None,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        kernel_size: Pair,
        pool_stride: Pair,
        pool_padding: Padding,
        pool_dilation: Pair,
        precision: Precision,
        algorithm: AlgorithmChoice,
        grad_weight: Array,
        grad_input: Array | None,
        rectified: bool,
        grad_bias: Array | None,
        workspace: Workspace,
    ) -> None:
        more: Any = {"kernel_size": kernel_size, "precision": precision, "algorithm": algorithm}
        more["grad_weight"] = grad_weight
        more |= {"grad_input": grad_input, "rectified": rectified, "grad_bias": grad_bias, "workspace": workspace}
        geometry = {"geometry": (stride, padding, dilation, groups)}
        windows = {"pool_geometry": (pool_stride, pool_padding, pool_dilation)}
        if not conv2d.conv2d_max_pool2d_backward(grad_output, argmax, x, weight, **more, **geometry, **windows):
            more |= {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            more |= {"pool_stride": pool_stride, "pool_padding": pool_padding, "pool_dilation": pool_dilation}
            super().conv2d_max_pool2d_backward(grad_output, argmax, x, weight, **more)

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
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        more: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        more |= {"out": out, "workspace": workspace}
        norm = {"mean": mean, "var": var, "eps": eps, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        if conv2d.conv2d_backward_input_norm_relu(grad_output, weight, addend, y, x, **norm, **more):
            return
        if addend is None:
            self.conv2d_backward_input(grad_output, weight, **more)
        else:
            self.conv2d_backward_input_add(grad_output, weight, addend, **more)
        batch_norm_gradient.relu_sums(out, y, x, **norm, out=out, workspace=workspace)

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
        more = {"grad_gamma": grad_gamma, "grad_beta": grad_beta, "grad_input": grad_input}
        batch_norm_gradient.apply(grad_output, x, gamma, mean, var, eps=eps, **more, workspace=workspace)

    def normalise_relu(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float, out: Array
    ) -> None:
        normalise.normalise_relu(x, gamma, beta, mean, var, eps=eps, out=out)

    def normalise_add_relu(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        mean: Array,
        var: Array,
        residual: Array,
        *,
        eps: float,
        out: Array,
    ) -> None:
        normalise.normalise_add_relu(x, gamma, beta, mean, var, residual, eps=eps, out=out)

    def normalise_relu_max_pool2d(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        mean: Array,
        var: Array,
        *,
        eps: float,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        out: Array,
        argmax: Array,
        workspace: Workspace,
    ) -> None:
        if suits_pool(x.shape, out.shape, kernel_size, stride, padding, dilation):
            normalise.normalise_relu_max_pool2d(x, gamma, beta, mean, var, eps=eps, out=out, argmax=argmax)
            return
        windows: Any = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        y = workspace.empty(out.shape, gamma.dtype) if out.dtype == stored.STORED else out
        super().normalise_relu_max_pool2d(
            x, gamma, beta, mean, var, eps=eps, **windows, out=y, argmax=argmax, workspace=workspace
        )
        if y is not out:
            stored.convert(y, out)

    def relu_backward_bias(
        self, grad_output: Array, y: Array, *, out: Array, grad_bias: Array, workspace: Workspace
    ) -> None:
        reduce.relu_backward_bias(grad_output, y, out=out, grad_bias=grad_bias, workspace=workspace)

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
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        batch_norm_gradient.batch_norm_backward(
            grad_output, x, gamma, mean, var, eps=eps, **grads, workspace=workspace, y=y
        )

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
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        more = {"y": y, "grad_residual": grad_residual}
        batch_norm_gradient.batch_norm_backward(
            grad_output, x, gamma, mean, var, eps=eps, **grads, workspace=workspace, **more
        )

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
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        if suits_pool(x.shape, y.shape, kernel_size, stride, padding, dilation):
            batch_norm_gradient.batch_norm_relu_max_pool2d_backward(
                grad_output, y, argmax, x, gamma, mean, var, eps=eps, **grads, workspace=workspace
            )
            return
        windows: Any = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        y = stored.widened(y, workspace)
        super().batch_norm_relu_max_pool2d_backward(
            grad_output, y, argmax, x, gamma, mean, var, eps=eps, **windows, **grads, workspace=workspace
        )
