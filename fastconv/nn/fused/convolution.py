"""Convolutions that run with what stands behind them: `ConvReLU`, `ConvNorm`, `ResidualReLU`. See steps.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastconv.backends.base import Array
from fastconv.errors import ShapeError
from fastconv.nn.core.layer import Context, Layer
from fastconv.nn.fused.steps import Ending, Step, Wanted, conv_backward, ending_of, kept_dtype, run_backward
from fastconv.nn.layers.activations import ReLU
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import MaxPool2d
from fastconv.nn.layers.simple import Identity


class ConvReLU(Step):
    """Convolution and rectifier in one pass, and a max pooling behind them where there is one.

    Backward the rectifier and the gradient of the bias in one pass; a pooling's result tells where the rectifier passed
    something. Where one such step feeds another directly, the latter does that in the pass that computes the gradient
    of its input (see `follow`).

    Attributes
    ----------
    before : ConvReLU or None
        The step whose rectifier this one takes over backward.
    masked : bool
        Whether the step behind has taken over this one's.
    """

    def __init__(self, conv: Conv2d, relu: ReLU, pool: MaxPool2d | None = None) -> None:
        super().__init__(conv, relu, *([] if pool is None else [pool]))
        self.conv, self.relu, self.pool = conv, relu, pool
        self.owns_output = False  # backward looks at the output, pooled or not
        self.before: ConvReLU | None = None
        self.masked = False
        self.forward_operations = ("conv2d_relu" if pool is None else "conv2d_relu_max_pool2d",)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        mine = () if self.masked else ("relu_backward_bias",)
        taken = self._taken_over()
        if self.pool is not None and not taken and not self.meets_shortcut:
            return (*mine, "conv2d_max_pool2d_backward")
        return (*mine, *(taken if self.before is None else ("conv2d_backward_input_relu",)))

    def can_read_kept(self) -> bool:
        """It does."""
        return True

    def follow(self, before: ConvReLU) -> None:
        """Take over the rectifier of `before`, whose output is the input of this step alone."""
        self.before, before.masked = before, True

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, the output, and that of the pooling."""
        conv = self.conv
        x = conv.checked_input(x, kept=self.reads_kept)
        y, pooled = convolve_relu(conv, self.pool, x, self._output_dtype(training=training))
        return y, ((x, y, pooled) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Array | None:
        """Run them backwards."""
        conv, backend = self.conv, self.conv.backend
        x, y, pooled = self.relu.check_context(context)
        grad = self.layers[-1].check_grad(grad_output, y.shape)
        if not self.masked:
            grad = backend.empty(y.shape, y.dtype)
            if conv.bias is None:
                backend.relu_backward(grad_output, y, out=grad)
            else:
                target = conv.bias.grad_target()
                backend.relu_backward_bias(grad_output, y, out=grad, grad_bias=target, workspace=backend.pool)
                conv.bias.add_grad(target)
        if self.pool is not None and wanted.addend is None and wanted.previous is None:
            argmax, shape = pooled
            before = None if self.before is None else self.before.conv
            windows = self.pool.windows_of(shape)
            return conv.backward_max_pool(grad, argmax, windows, x, needs_input_grad=wanted.input_grad, before=before)
        if self.pool is not None:
            grad = self.pool.backward(grad, pooled)
        if self.before is None or not wanted.input_grad:
            return conv_backward(conv, grad, x, wanted)
        conv.backward_weight(grad, x)
        return conv.backward_input_relu(grad, x, self.before.conv.bias)


def convolve_relu(conv: Conv2d, pool: MaxPool2d | None, x: Array, dtype: np.dtype) -> tuple[Array, Context]:
    """Return the rectified convolution, pooled if there is a pooling, in an array of that type; and its context."""
    shape = conv.output_shape(x.shape)
    if pool is None:
        return conv.convolve(x, "conv2d_relu", out=conv.backend.empty(shape, dtype)), None
    y, argmax, windows = pool.prepare(shape, dtype)
    kernel_size = windows.pop("kernel_size")
    more = {f"pool_{name}": value for name, value in windows.items()}
    conv.convolve(x, "conv2d_relu_max_pool2d", out=y, argmax=argmax, kernel_size=kernel_size, **more)
    return y, (argmax, shape)


class ConvNorm(Step):
    """Convolution with the statistics of its output; normalisation, rectifier and 2x2 max pooling in one pass more.

    Backward two passes: the sums, and the gradient of the convolution's output. The step behind may have done the first
    (see `Ending`). A bias of the convolution has no effect but on the running mean.
    """

    _kept = ("convolution and its gradient",)

    def __init__(
        self, conv: Conv2d, norm: BatchNorm2d, relu: ReLU | None = None, pool: MaxPool2d | None = None
    ) -> None:
        super().__init__(*[layer for layer in (conv, norm, relu, pool) if layer is not None])
        self.conv, self.norm, self.relu, self.pool = conv, norm, relu, pool
        self.owns_output = relu is None  # else backward looks at it, pooled or not
        if pool is not None:
            self.ends = ("normalise_relu_max_pool2d", "batch_norm_relu_max_pool2d_backward")
        elif relu is not None:
            self.ends = ("normalise_relu", "batch_norm_relu_backward")
        else:
            self.ends = ("batch_norm_inference", "batch_norm_backward")
        self.forward_operations = ("conv2d_statistics", self.ends[0])

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        taken = self.norm_taken and self.conv.backend.sums_norm_gradients
        return ("batch_norm_backward_apply" if taken else self.ends[1], *self._taken_over())

    def ends_in_norm(self) -> bool:
        """Whether there is a rectifier, and no pooling."""
        return self.relu is not None and self.pool is None

    def can_read_kept(self) -> bool:
        """It does."""
        return True

    def ending(self, context: Context) -> Ending | None:
        """Return the end of this step, if the backend can do it with a convolution's gradient."""
        if not self.conv.backend.sums_norm_gradients:
            return None
        _, z, mean, var, _, _ = self.norm.check_context(context)
        return Ending(self.norm, z, mean, var)

    def statistics(self, x: Array, *, training: bool) -> tuple[Array, Array, Array]:
        """Convolve and return the output with the mean and variance to normalise it with."""
        conv, norm, backend = self.conv, self.norm, self.conv.backend
        if not training:
            return conv.convolve(x, "conv2d"), norm.running_mean.array, norm.running_var.array
        count = math.prod(conv.output_shape(x.shape)[:-1])
        if count == 0:
            raise ShapeError(f"x of Conv2d: got shape {tuple(x.shape)} in training; allowed: at least one image")
        mean, var = norm.empty_statistics()
        z = backend.empty(conv.output_shape(x.shape), kept_dtype(conv))
        # A bias moves z and its mean alike. Left out it takes nothing of the precision that z is stored with.
        conv.convolve(x, "conv2d_statistics", out=z, bias=False, mean=mean, var=var)
        moved = mean[0]
        if conv.bias is not None:
            moved = backend.empty(norm.gamma.shape, norm.dtype)
            backend.add(mean[0], conv.bias.array, out=moved)
        norm.update(moved, var[0], count)
        return z, mean, var

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, the convolution's output and its statistics, the output, and the argmax."""
        backend, norm = self.conv.backend, self.norm
        x = self.conv.checked_input(x, kept=self.reads_kept)
        dtype = self._output_dtype(training=training)
        z, mean, var = self.statistics(x, training=training)
        parts = (z, norm.gamma.array, norm.beta.array, mean, var)
        argmax = None
        if self.pool is None:
            y = backend.empty(z.shape, dtype)
            (backend.normalise_relu if self.relu else backend.batch_norm_inference)(*parts, eps=norm.eps, out=y)
        else:
            y, argmax, windows = self.pool.prepare(z.shape, dtype)
            backend.normalise_relu_max_pool2d(
                *parts, eps=norm.eps, **windows, out=y, argmax=argmax, workspace=backend.pool
            )
        return y, ((x, z, mean, var, y, argmax) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Array | None:
        """Run them backwards."""
        backend, norm = self.conv.backend, self.norm
        x, z, mean, var, y, argmax = norm.check_context(context)
        grad_output = self.layers[-1].check_grad(grad_output, y.shape)
        grad, gamma = backend.empty(z.shape, z.dtype), norm.gamma.array
        if wanted.own is not None:
            apply_norm(wanted.own, grad_output, grad)
            self.conv.no_gradient_of_bias()
            return conv_backward(self.conv, grad, x, wanted)
        more = {"eps": norm.eps, "grad_input": grad, "workspace": backend.pool, **norm.grad_targets()}
        if self.relu is None:
            backend.batch_norm_backward(grad_output, z, gamma, mean, var, **more)
        elif self.pool is None:
            backend.batch_norm_relu_backward(grad_output, y, z, gamma, mean, var, **more)
        else:
            windows = self.pool.windows_of(z.shape)
            backend.batch_norm_relu_max_pool2d_backward(grad_output, y, argmax, z, gamma, mean, var, **windows, **more)
        norm.add_grads(more)
        self.conv.no_gradient_of_bias()
        return conv_backward(self.conv, grad, x, wanted)


def apply_norm(ending: Ending, grad_output: Array, grad_input: Array) -> None:
    """Write the gradient of z to `grad_input`, the sums being there and `grad_output` behind the rectifier."""
    norm, statistics = ending.norm, (ending.mean, ending.var)
    norm.backend.batch_norm_backward_apply(
        *(grad_output, ending.z, norm.gamma.array, *statistics),
        **(ending.grads or {}),
        eps=norm.eps,
        grad_input=grad_input,
        workspace=norm.backend.pool,
    )


class ResidualReLU(Step):
    """A residual block whose body ends in convolution and normalisation, and the rectifier behind it.

    The last pass of the body adds the shortcut and rectifies; where the two paths meet backward, the gradient of the
    shortcut is added in the pass that computes the body's.
    """

    forward_operations = ("conv2d_statistics", "normalise_add_relu")
    _kept = ("convolution and its gradient",)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `Step`; what the convolution that its input goes to takes over from the step before is named there."""
        fused = self.last.conv.backend.sums_norm_gradients
        first = self.first()
        names = ["batch_norm_backward_apply" if self.norm_taken and fused else "batch_norm_add_relu_backward"]
        names += self.last._taken_over()
        if first is not None and not (first.follows_norm and fused):
            names.append("conv2d_backward_input_add")
        return tuple(names)

    def ends_in_norm(self) -> bool:
        """It does."""
        return True

    def can_read_kept(self) -> bool:
        """It does where the shortcut passes on what it gets."""
        return type(self.shortcut) is Identity and (self.body[0] if self.body else self.last).can_read_kept()

    def read_kept(self) -> None:
        """Note that its input will come so, and that of its first convolution."""
        self.reads_kept = True
        (self.body[0] if self.body else self.last).read_kept()

    def ending(self, context: Context) -> Ending | None:
        """Return the end of this step, if the backend can do it with a convolution's gradient."""
        if not self.last.conv.backend.sums_norm_gradients:
            return None
        _, (_, z, mean, var, _), _ = self.last.norm.check_context(context)
        return Ending(self.last.norm, z, mean, var)

    def first(self) -> Step | None:
        """Return the first step of the body, if that is a convolution."""
        return (self.body[0] if self.body else self.last).first()

    def __init__(self, block: Layer, relu: ReLU, body: Sequence[Step], last: ConvNorm, shortcut: Layer) -> None:
        super().__init__(block, relu)
        self.body, self.last, self.shortcut = tuple(body), last, shortcut
        self.owns_grad = True
        (self.body[0] if self.body else last).meets_shortcut = True

    @property
    def convolution(self) -> Conv2d | None:
        """The last one of the body."""
        return self.last.conv

    def inside(self) -> Sequence[Step | Layer]:
        """The steps of the body before the last, and the shortcut."""
        return [*self.body, self.shortcut]

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the block; the context is those of the body's steps, what the last one leaves, and the shortcut's."""
        backend, norm = self.last.conv.backend, self.last.norm
        value, contexts = x, []
        for step in self.body:
            value, context = step.forward(value, training=training)
            contexts.append(context)
        value = self.last.conv.checked_input(value, kept=self.last.reads_kept)
        z, mean, var = self.last.statistics(value, training=training)
        residual, shortcut_context = x, None
        if not self.reads_kept:
            residual, shortcut_context = self.shortcut.forward(x, training=training)
        y = backend.empty(z.shape, self._output_dtype(training=training))
        backend.normalise_add_relu(z, norm.gamma.array, norm.beta.array, mean, var, residual, eps=norm.eps, out=y)
        return y, ((contexts, (value, z, mean, var, y), shortcut_context) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Array | None:
        """Run the block backwards."""
        backend, norm, conv = self.last.conv.backend, self.last.norm, self.last.conv
        contexts, (value, z, mean, var, y), shortcut_context = norm.check_context(context)
        grad_output = self.layers[-1].check_grad(grad_output, y.shape)
        grad = backend.empty(z.shape, z.dtype)
        if wanted.own is not None:
            residual = grad_output  # behind the rectifier already, and nobody else's
            apply_norm(wanted.own, grad_output, grad)
        else:
            residual = backend.empty(z.shape, norm.dtype)
            more = {"eps": norm.eps, "grad_input": grad, "workspace": backend.pool, **norm.grad_targets()}
            backend.batch_norm_add_relu_backward(
                grad_output, y, z, norm.gamma.array, mean, var, grad_residual=residual, **more
            )
            norm.add_grads(more)
        conv.no_gradient_of_bias()
        rest = self.shortcut.backward(residual, shortcut_context, needs_input_grad=wanted.input_grad)
        if rest is not None and wanted.addend is not None:
            backend.add(rest, wanted.addend, out=wanted.addend)
            rest = wanted.addend
        if not self.body:
            return conv_backward(conv, grad, value, replace(wanted, addend=rest))
        previous = ending_of(self.body[-1], contexts[-1])
        result = conv_backward(conv, grad, value, Wanted(input_grad=True, previous=previous))
        return run_backward(self.body, contexts, result, replace(wanted, addend=rest, own=previous))
