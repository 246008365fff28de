"""The CPU backend: hands the arrays on to `fastconv.kernels.cpu`; the contract says what an operation does."""

# ruff: noqa: D102 (documented by the contract)

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, final

import numpy as np

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
from fastconv.backends.memory import Pool
from fastconv.errors import ArgumentError, BackendUnavailableError
from fastconv.kernels.cpu.runtime.settings import SettingError

try:
    from fastconv.backends.cpu.compile_note import watch_compilation

    watch_compilation()  # importing the kernels compiles some already
    from fastconv.kernels.cpu.conv import autotune, conv2d, dense
    from fastconv.kernels.cpu.elementwise import activation, augment, dropout, move, optimizer, reduce, softmax
    from fastconv.kernels.cpu.elementwise import maps as elementwise
    from fastconv.kernels.cpu.norm import batch_norm, batch_norm_gradient, normalise
    from fastconv.kernels.cpu.pool import avg_pool, max_pool
    from fastconv.kernels.cpu.runtime import launch
    from fastconv.kernels.cpu.vector import bf16
    from fastconv.kernels.cpu.vector import bf16_storage as stored
except SettingError as error:
    raise ArgumentError(str(error)) from None
except ImportError as error:
    # An error of Numba's own, such as that it needs another NumPy, names no module.
    if (error.name or "numba").partition(".")[0] not in ("numba", "llvmlite"):
        raise
    absent = isinstance(error, ModuleNotFoundError)
    why = "Numba is not installed; pip install numba" if absent else f"Numba cannot be used: {error}"
    raise BackendUnavailableError(f"backend 'numba': {why}") from error
from fastconv._shapes import Padding, Pair
from fastconv.backends.cpu import machine
from fastconv.backends.cpu.fused import NumbaFusedOperations

_captured_pool: ContextVar[Pool | None] = ContextVar("fastconv_captured_pool", default=None)


def _replay(program: Any, pool: Pool) -> bool:
    """Run what was captured; `pool` keeps its memory."""
    complete: bool = program.run()
    return complete


@final
class NumbaBackend(NumbaFusedOperations):
    """Numba kernels on NumPy arrays."""

    name = "numba"
    on_host = True
    captures = True
    precisions = ("strict", "default", "fast") if bf16.DOT else ("strict", "default")
    fast_needs = "" if bf16.DOT else "a CPU with the bfloat16 dot product (AVX512_BF16)"
    algorithms = autotune.WANTED

    def __init__(self) -> None:
        self._pool: Workspace = Pool()

    @property
    def pool(self) -> Workspace:
        """Where arrays come from: within `capture`, memory of its own."""
        return _captured_pool.get() or self._pool

    @pool.setter
    def pool(self, pool: Workspace) -> None:
        self._pool = pool

    def capture(self, function: Callable[[], None]) -> Callable[[], bool] | None:
        # Both are put back as they were, and not by what `set` returns: an interrupt may come before that is kept.
        pool, outer, program_outside = Pool(), _captured_pool.get(), launch._local.program
        try:
            _captured_pool.set(pool)
            with launch.record(lambda array: not pool.holds(array)) as program:
                function()
        except launch.NotRecordableError:
            return None
        finally:
            launch._local.program = program_outside
            _captured_pool.set(outer)
        return partial(_replay, program, pool)

    def empty(self, shape: Shape, dtype: Any) -> Array:
        return self.pool.empty(shape, dtype)

    def kept_dtype(self, dtype: Any, precision: Precision) -> np.dtype:
        kept: np.dtype = stored.STORED if precision == "fast" and dtype == np.float32 else np.dtype(dtype)
        return kept

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        if type(array) is np.ndarray and dtype is None and array.flags.carray and array.dtype.isnative:
            return array  # as it nearly always is
        array = np.asarray(array, dtype)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE", "ENSUREARRAY"])

    def to_numpy(self, array: Array) -> np.ndarray:
        result: np.ndarray = array
        return result

    def facts(self) -> Mapping[str, str]:
        return machine.facts()

    def synchronize(self) -> None:
        """Return at once: every launch waits for its tasks."""

    @property
    def num_threads(self) -> int:
        threads: int = launch.get_num_threads()
        return threads

    def set_num_threads(self, count: int) -> None:
        try:
            launch.set_num_threads(count)
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    @contextmanager
    def trace(self, note: Callable[[str], None]) -> Iterator[None]:
        with launch.trace(note):
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
        geometry = (stride, padding, dilation, groups)
        found: list[str] = conv2d.reasons(weight, input_shape, geometry, precision, algorithm)
        return found

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
        prepared: PreparedWeight = conv2d.prepare_conv2d_weight(
            weight,
            direction=direction,
            input_shape=input_shape,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            precision=precision,
            algorithm=algorithm,
            workspace=workspace,
        )
        return prepared

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
        conv2d.conv2d(
            x,
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            out=out,
            workspace=workspace,
        )

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
        conv2d.conv2d_backward_input(
            grad_output,
            weight,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            out=out,
            workspace=workspace,
        )

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
        conv2d.conv2d_backward_weight(
            grad_output,
            x,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            precision=precision,
            algorithm=algorithm,
            out=out,
            workspace=workspace,
        )

    def conv2d_backward_bias(self, grad_output: Array, *, out: Array, workspace: Workspace) -> None:
        reduce.conv2d_backward_bias(grad_output, out=out, workspace=workspace)

    def prepare_dense_weight(
        self, weight: Array, *, direction: Direction, batch: int, precision: Precision, workspace: Workspace
    ) -> PreparedWeight:
        prepared: PreparedWeight = dense.prepare_dense_weight(
            weight, direction=direction, batch=batch, precision=precision, workspace=workspace
        )
        return prepared

    def dense(self, x: Array, weight: PreparedWeight, bias: Array | None, *, out: Array, workspace: Workspace) -> None:
        dense.dense(x, weight, bias, out=out, workspace=workspace)

    def dense_backward_input(
        self, grad_output: Array, weight: PreparedWeight, *, out: Array, workspace: Workspace
    ) -> None:
        dense.dense_backward_input(grad_output, weight, out=out, workspace=workspace)

    def dense_backward_weight(
        self, grad_output: Array, x: Array, *, precision: Precision, out: Array, workspace: Workspace
    ) -> None:
        dense.dense_backward_weight(grad_output, x, precision=precision, out=out, workspace=workspace)

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
            x, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, out=out, argmax=argmax
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
            grad_output, argmax, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, out=out
        )

    def avg_pool2d(
        self, x: Array, *, kernel_size: Pair, stride: Pair, padding: Padding, count_include_pad: bool, out: Array
    ) -> None:
        avg_pool.avg_pool2d(
            x, kernel_size=kernel_size, stride=stride, padding=padding, count_include_pad=count_include_pad, out=out
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
        batch_norm.batch_norm(x, gamma, beta, eps=eps, out=out, mean=mean, var=var, workspace=workspace)

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
        batch_norm_gradient.batch_norm_backward(
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
        normalise.batch_norm_inference(x, gamma, beta, mean, var, eps=eps, out=out)

    def update_running_stats(
        self, mean: Array, var: Array, *, momentum: float, count: int, running_mean: Array, running_var: Array
    ) -> None:
        batch_norm.update_running_stats(
            mean, var, momentum=momentum, count=count, running_mean=running_mean, running_var=running_var
        )

    def relu(self, x: Array, *, out: Array) -> None:
        activation.relu(x, out=out)

    def relu_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.relu_backward(grad_output, y, out=out)

    def leaky_relu(self, x: Array, *, slope: float, out: Array) -> None:
        activation.leaky_relu(x, slope=slope, out=out)

    def leaky_relu_backward(self, grad_output: Array, x: Array, *, slope: float, out: Array) -> None:
        activation.leaky_relu_backward(grad_output, x, slope=slope, out=out)

    def elu(self, x: Array, *, alpha: float, out: Array) -> None:
        activation.elu(x, alpha=alpha, out=out)

    def elu_backward(self, grad_output: Array, x: Array, *, alpha: float, out: Array) -> None:
        activation.elu_backward(grad_output, x, alpha=alpha, out=out)

    def gelu(self, x: Array, *, out: Array) -> None:
        activation.gelu(x, out=out)

    def gelu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        activation.gelu_backward(grad_output, x, out=out)

    def silu(self, x: Array, *, out: Array) -> None:
        activation.silu(x, out=out)

    def silu_backward(self, grad_output: Array, x: Array, *, out: Array) -> None:
        activation.silu_backward(grad_output, x, out=out)

    def sigmoid(self, x: Array, *, out: Array) -> None:
        activation.sigmoid(x, out=out)

    def sigmoid_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.sigmoid_backward(grad_output, y, out=out)

    def tanh(self, x: Array, *, out: Array) -> None:
        activation.tanh(x, out=out)

    def tanh_backward(self, grad_output: Array, y: Array, *, out: Array) -> None:
        activation.tanh_backward(grad_output, y, out=out)

    def add(self, a: Array, b: Array, *, out: Array) -> None:
        elementwise.add(a, b, out=out)

    def scale(self, x: Array, *, factor: float, out: Array) -> None:
        elementwise.scale(x, factor=factor, out=out)

    def copy(self, x: Array, *, out: Array) -> None:
        elementwise.copy(x, out=out)

    def fill(self, value: float, *, out: Array) -> None:
        elementwise.fill(value, out=out)

    def concatenate(self, arrays: Sequence[Array], *, out: Array) -> None:
        move.concatenate(arrays, out=out)

    def split(self, x: Array, *, outs: Sequence[Array]) -> None:
        move.split(x, outs=outs)

    def subsample_pad(self, x: Array, *, stride: Pair, before: int, out: Array) -> None:
        move.subsample_pad(x, stride=stride, before=before, out=out)

    def subsample_pad_backward(self, grad_output: Array, *, stride: Pair, before: int, out: Array) -> None:
        move.subsample_pad_backward(grad_output, stride=stride, before=before, out=out)

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
            logits, labels, label_smoothing=label_smoothing, loss=loss, grad_logits=grad_logits, workspace=workspace
        )

    def count_correct(self, logits: Array, labels: Array, *, out: Array) -> None:
        softmax.count_correct(logits, labels, out=out)

    def dropout(self, x: Array, *, p: float, key: RandomKey, out: Array) -> None:
        dropout.dropout(x, p=p, key=key, out=out)

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
        augment.augment(images, indices, mean=mean, std=std, flip=flip, pad=pad, key=key, out=out)

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
            parameter, grad, velocity, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
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
            parameter, grad, m, v, lr=lr, step=step, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
        )
