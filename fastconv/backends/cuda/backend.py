"""What CuPy and the emulator share: arrays go on to `fastconv.kernels.cuda`; the contract says what an operation does.

Arrays, pool and device are the subclasses'.
"""

# ruff: noqa: D102 (documented by the contract)

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastconv._shapes import Padding, Pair
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import (
    AlgorithmChoice,
    Array,
    Direction,
    Precision,
    PreparedWeight,
    RandomKey,
    Shape,
    Workspace,
)
from fastconv.backends.cuda.launches import Launch
from fastconv.kernels.cuda.conv import conv2d, dense
from fastconv.kernels.cuda.elementwise import (
    activation,
    augment,
    dropout,
    elementwise,
    move,
    optimizer,
    reduce,
    softmax,
)
from fastconv.kernels.cuda.norm import batch_norm
from fastconv.kernels.cuda.pool import avg_pool, max_pool


class CudaBackend(Backend):
    """CUDA kernels on the arrays of a device."""

    precisions = ("strict", "default", "fast")
    captures = True
    device: Any
    """A `fastconv.kernels.cuda.runtime.device.Device` that is a `LaunchList` too."""

    def capture(self, function: Callable[[], None]) -> Callable[[], bool]:
        with self.device.recording() as launches:
            function()
        repeat = self._repeat(launches)

        def replay() -> bool:
            self.device.tell(launches)
            repeat()
            return True

        return replay

    @abc.abstractmethod
    def _repeat(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what runs these launches."""

    @contextmanager
    def trace(self, note: Callable[[str], None]) -> Iterator[None]:
        with self.device.listening(lambda launch: note(launch.kernel.name)):
            yield

    def conv2d_reasons(
        self,
        weight: Array,
        *,
        input_shape: Shape,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        precision: Precision,
        algorithm: AlgorithmChoice,
    ) -> Sequence[str]:
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        both = (conv2d.geometry_of(weight, **shape, backward=backward) for backward in (False, True))
        reasons: Sequence[str] = conv2d.reasons(weight, *both, precision, input_shape)
        return reasons

    def prepare_conv2d_weight(
        self,
        weight: Array,
        *,
        direction: Direction,
        input_shape: Shape,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        precision: Precision,
        algorithm: AlgorithmChoice,
        workspace: Workspace,
    ) -> PreparedWeight:
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight, **shape, backward=direction == "backward_input")
        return self._prepared(weight, weight, geometry, precision, input_shape, workspace)

    def _prepared(
        self,
        weight: Array,
        kernel: Array,
        geometry: Any,
        precision: Precision,
        input_shape: Shape,
        workspace: Workspace,
    ) -> PreparedWeight:
        chosen = conv2d.algorithm(kernel, geometry, precision, input_shape)
        packed = None
        if chosen in conv2d.TENSOR.values():
            packed = conv2d.pack_weight(self.device, kernel, geometry, chosen.multiplies, workspace)
        return PreparedWeight(weight, chosen, packed)

    def conv2d(
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
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight.weight, **shape)
        conv2d.run(self.device, x, weight, geometry, bias=bias, out=out, workspace=workspace)

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
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight.weight, **shape)
        conv2d.run(self.device, x, weight, geometry, bias=bias, rectify=True, out=out, workspace=workspace)

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
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight.weight, **shape)
        finish = {"bias": bias, "addend": addend, "rectify": True}
        conv2d.run(self.device, x, weight, geometry, **finish, out=out, workspace=workspace)

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
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.conv2d(x, weight, bias, **shape, out=out, workspace=workspace)
        batch_norm.statistics(self.device, out, mean=mean, var=var, workspace=workspace)

    def conv2d_backward_input(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        out: Array,
        workspace: Workspace,
    ) -> None:
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight.weight, **shape, backward=True)
        conv2d.run(self.device, grad_output, weight, geometry, out=out, workspace=workspace)

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
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(weight.weight, **shape, backward=True)
        conv2d.run(self.device, grad_output, weight, geometry, addend=addend, out=out, workspace=workspace)

    def conv2d_backward_weight(
        self,
        grad_output: Array,
        x: Array,
        *,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        groups: int,
        precision: Precision,
        algorithm: AlgorithmChoice,
        out: Array,
        workspace: Workspace,
    ) -> None:
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        geometry = conv2d.geometry_of(out, **shape)
        conv2d.backward_weight(self.device, grad_output, x, geometry, precision=precision, out=out, workspace=workspace)

    def prepare_dense_weight(
        self, weight: Array, *, direction: Direction, batch: int, precision: Precision, workspace: Workspace
    ) -> PreparedWeight:
        geometry = dense.geometry_of(weight, backward=direction == "backward_input")
        shape = (batch, 1, 1, weight.shape[0])
        return self._prepared(weight, dense.as_kernel(weight), geometry, precision, shape, workspace)

    def dense(self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array, workspace: Workspace) -> None:
        geometry = dense.geometry_of(weight.weight)
        maps = dense.as_map(x), dense.as_prepared(weight), geometry
        conv2d.run(self.device, *maps, bias=bias, out=dense.as_map(out), workspace=workspace)

    def dense_backward_input(
        self, grad_output: Array, weight: PreparedWeight, *, out: Array, workspace: Workspace
    ) -> None:
        geometry = dense.geometry_of(weight.weight, backward=True)
        maps = dense.as_map(grad_output), dense.as_prepared(weight), geometry
        conv2d.run(self.device, *maps, out=dense.as_map(out), workspace=workspace)

    def dense_backward_weight(
        self, grad_output: Array, x: Array, *, precision: Precision, out: Array, workspace: Workspace
    ) -> None:
        dense.backward_weight(self.device, grad_output, x, precision=precision, out=out, workspace=workspace)

    def conv2d_backward_bias(self, grad_output: Array, *, out: Array, workspace: Workspace) -> None:
        reduce.conv2d_backward_bias(self.device, grad_output, out=out, workspace=workspace)

    def max_pool2d(
        self,
        x: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        out: Array,
        argmax: Array,
    ) -> None:
        max_pool.max_pool2d(
            self.device,
            x,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            out=out,
            argmax=argmax,
        )

    def max_pool2d_backward(
        self,
        grad_output: Array,
        argmax: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        out: Array,
    ) -> None:
        max_pool.max_pool2d_backward(
            self.device,
            grad_output,
            argmax,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            out=out,
        )

    def avg_pool2d(
        self, x: Array, *, kernel_size: Pair, stride: Pair, padding: Padding, count_include_pad: bool, out: Array
    ) -> None:
        avg_pool.avg_pool2d(
            self.device,
            x,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            count_include_pad=count_include_pad,
            out=out,
        )

    def avg_pool2d_backward(
        self,
        grad_output: Array,
        *,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        count_include_pad: bool,
        out: Array,
    ) -> None:
        avg_pool.avg_pool2d_backward(
            self.device,
            grad_output,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            count_include_pad=count_include_pad,
            out=out,
        )

    def batch_norm(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        *,
        eps: float,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        batch_norm.batch_norm(self.device, x, gamma, beta, eps=eps, out=out, mean=mean, var=var, workspace=workspace)

    def batch_norm_backward(
        self,
        grad_output: Array,
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
        batch_norm.batch_norm_backward(
            self.device,
            grad_output,
            x,
            gamma,
            mean,
            var,
            eps=eps,
            grad_input=grad_input,
            grad_gamma=grad_gamma,
            grad_beta=grad_beta,
            workspace=workspace,
        )

    def batch_norm_inference(
        self, x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float, out: Array
    ) -> None:
        batch_norm.batch_norm_inference(self.device, x, gamma, beta, mean, var, eps=eps, out=out)

    def update_running_stats(
        self, mean: Array, var: Array, *, momentum: float, count: int, running_mean: Array, running_var: Array
    ) -> None:
        batch_norm.update_running_stats(
            self.device, mean, var, momentum=momentum, count=count, running_mean=running_mean, running_var=running_var
        )

    def relu(self, x: Array, *, out: Array) -> None:
        activation.relu(self.device, x, out=out)

    def relu_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.relu_backward(self.device, grad_output, y, out=out)

    def leaky_relu(self, x: Array, *, slope: float, out: Array) -> None:
        activation.leaky_relu(self.device, x, slope=slope, out=out)

    def leaky_relu_backward(self, grad_output: Array, x: Array, *, slope: float, out: Array) -> None:
        activation.leaky_relu_backward(self.device, grad_output, x, slope=slope, out=out)

    def elu(self, x: Array, *, alpha: float, out: Array) -> None:
        activation.elu(self.device, x, alpha=alpha, out=out)

    def elu_backward(self, grad_output: Array, x: Array, *, alpha: float, out: Array) -> None:
        activation.elu_backward(self.device, grad_output, x, alpha=alpha, out=out)

    def gelu(self, x: Array, *, out: Array) -> None:
        activation.gelu(self.device, x, out=out)

    def gelu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        activation.gelu_backward(self.device, grad_output, x, out=out)

    def silu(self, x: Array, *, out: Array) -> None:
        activation.silu(self.device, x, out=out)

    def silu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        activation.silu_backward(self.device, grad_output, x, out=out)

    def sigmoid(self, x: Array, *, out: Array) -> None:
        activation.sigmoid(self.device, x, out=out)

    def sigmoid_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.sigmoid_backward(self.device, grad_output, y, out=out)

    def tanh(self, x: Array, *, out: Array) -> None:
        activation.tanh(self.device, x, out=out)

    def tanh_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.tanh_backward(self.device, grad_output, y, out=out)

    def add(self, a: Array, b: Array, *, out: Array) -> None:
        elementwise.add(self.device, a, b, out=out)

    def scale(self, x: Array, *, factor: float, out: Array) -> None:
        elementwise.scale(self.device, x, factor=factor, out=out)

    def copy(self, x: Array, *, out: Array) -> None:
        elementwise.copy(self.device, x, out=out)

    def fill(self, value: float, *, out: Array) -> None:
        elementwise.fill(self.device, value, out=out)

    def concatenate(self, arrays: Sequence[Array], *, out: Array) -> None:
        move.concatenate(self.device, arrays, out=out)

    def split(self, x: Array, *, outs: Sequence[Array]) -> None:
        move.split(self.device, x, outs=outs)

    def subsample_pad(self, x: Array, *, stride: Pair, before: int, out: Array) -> None:
        move.subsample_pad(self.device, x, stride=stride, before=before, out=out)

    def subsample_pad_backward(self, grad_output: Array, *, stride: Pair, before: int, out: Array) -> None:
        move.subsample_pad_backward(self.device, grad_output, stride=stride, before=before, out=out)

    def softmax_cross_entropy(
        self,
        logits: Array,
        labels: Array,
        *,
        label_smoothing: float,
        loss: Array,
        grad_logits: Array,
        workspace: Workspace,
    ) -> None:
        softmax.softmax_cross_entropy(
            self.device,
            logits,
            labels,
            label_smoothing=label_smoothing,
            loss=loss,
            grad_logits=grad_logits,
            workspace=workspace,
        )

    def count_correct(self, logits: Array, labels: Array, *, out: Array) -> None:
        softmax.count_correct(self.device, logits, labels, out=out)

    def dropout(self, x: Array, *, p: float, key: RandomKey, out: Array) -> None:
        dropout.dropout(self.device, x, p=p, key=key, out=out)

    def augment(
        self,
        images: Array,
        indices: Array,
        *,
        mean: Array,
        std: Array,
        flip: bool,
        pad: int,
        key: RandomKey,
        out: Array,
    ) -> None:
        augment.augment(self.device, images, indices, mean=mean, std=std, flip=flip, pad=pad, key=key, out=out)

    def sgd_step(
        self,
        parameter: Array,
        grad: Array,
        velocity: Array | None,
        *,
        lr: Array,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        optimizer.sgd_step(
            self.device,
            parameter,
            grad,
            velocity,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )

    def adam_step(
        self,
        parameter: Array,
        grad: Array,
        m: Array,
        v: Array,
        *,
        lr: Array,
        step: Array,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        optimizer.adam_step(
            self.device,
            parameter,
            grad,
            m,
            v,
            lr=lr,
            step=step,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
        )
