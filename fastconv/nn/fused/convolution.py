"""Convolutions that run with what follows them: `Tail` describes that, `ConvActivation` and `ConvNorm` run it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import ShapeError
from fastconv.nn.core.layer import AbstractLayer, Context, Run
from fastconv.nn.fused.endings import ActivationEnding, Ending, Gradient, NormEnding, Wanted, convolution_backward
from fastconv.nn.fused.frozen import folded
from fastconv.nn.fused.steps import Step, stored_dtype
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import MaxPool2d


class Kind(NamedTuple):
    """What follows a convolution or a normalisation, by name: that decides which operation of a backend it is."""

    adds: bool = False
    activation: str | None = None
    pools: bool = False


class Operations(NamedTuple):
    """The operations of a backend.

    Attributes
    ----------
    forward : str
        The convolution with what follows it, or the normalisation with that.
    backward : tuple of str
        To the convolution's result; empty where there is none, so that it is for inference only.
    """

    forward: str
    backward: tuple[str, ...] = ()


_POOLED = "conv2d_max_pool2d_backward"

AFTER_CONVOLUTION: Mapping[Kind, Operations] = {
    Kind(): Operations("conv2d"),
    Kind(activation="relu"): Operations("conv2d_relu", ("relu_backward_bias",)),
    Kind(activation="relu", pools=True): Operations("conv2d_relu_max_pool2d", ("relu_backward_bias", _POOLED)),
    Kind(adds=True, activation="relu"): Operations("conv2d_add_relu"),
}
"""What can run as one with a convolution; what is not here is cut into what is."""

AFTER_NORM: Mapping[Kind, Operations] = {
    Kind(): Operations("batch_norm_inference", ("batch_norm_backward",)),
    Kind(activation="relu"): Operations("normalise_relu", ("batch_norm_relu_backward",)),
    Kind(activation="relu", pools=True): Operations(
        "normalise_relu_max_pool2d", ("batch_norm_relu_max_pool2d_backward",)
    ),
    Kind(adds=True, activation="relu"): Operations("normalise_add_relu", ("batch_norm_add_relu_backward",)),
}
"""What can run as one with a normalisation. Its kinds are all in `AFTER_CONVOLUTION`: there they are in inference."""


@dataclass(frozen=True, eq=False)
class Tail:
    """The layers that follow a convolution, or a normalisation, in this order; each may be missing.

    Attributes
    ----------
    adds : bool
        Whether the result of a residual block's shortcut is added first.
    activation : PointwiseLayer or None
    pool : MaxPool2d or None
    """

    adds: bool = False
    activation: PointwiseLayer | None = None
    pool: MaxPool2d | None = None

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """Those that there are."""
        return tuple(layer for layer in (self.activation, self.pool) if layer is not None)

    @cached_property
    def kind(self) -> Kind:
        """What it is by name."""
        name = None if self.activation is None else self.activation.function.name
        return Kind(self.adds, name, self.pool is not None)

    @cached_property
    def after_convolution(self) -> Operations:
        """What computes it with a convolution."""
        return AFTER_CONVOLUTION[self.kind]

    @cached_property
    def after_norm(self) -> Operations:
        """What computes it with a normalisation."""
        return AFTER_NORM[self.kind]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Convolution(Step):
    conv: Conv2d
    tail: Tail

    @property
    def convolution(self) -> Conv2d:
        """The only one."""
        return self.conv

    @property
    def reads_stored(self) -> bool:
        """It does."""
        return True

    @property
    def owns_output(self) -> bool:
        """Backward looks at what is behind an activation, pooled or not."""
        return self.tail.activation is None

    def frozen(self) -> Run:
        """Return the convolution with the normalisation folded, and what is left."""
        conv, tail = self.frozen_convolution(), self.tail
        return lambda x: convolve(conv, tail, conv.checked_input(x), conv.dtype)[0]

    def frozen_convolution(self) -> Conv2d:
        """Return the convolution with the normalisation folded."""
        return self.conv

    def output_dtype(self, *, training: bool) -> np.dtype:
        """Return the type of its output."""
        return stored_dtype(self.conv) if training and self.after.stored else self.conv.dtype


def convolve(conv: Conv2d, tail: Tail, x: Array, dtype: np.dtype, *addend: Array) -> tuple[Array, Context]:
    """Return a convolution with its tail, in an array of that type; and the context of the pooling."""
    shape, operation = conv.output_shape(x.shape), tail.after_convolution.forward
    if tail.pool is None:
        return conv.convolve(x, operation, *addend, out=conv.backend.empty(shape, dtype)), None
    y, argmax, windows = tail.pool.prepare(shape, dtype)
    conv.convolve(x, operation, out=y, argmax=argmax, windows=windows)
    return y, (argmax, shape)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvActivation(_Convolution):
    """Convolution and activation in one pass, and a max pooling behind them where there is one.

    Backward the activation and the gradient of the bias in one pass; a pooling's result tells where the activation
    passed something. Where one such step feeds another directly, the latter does that in the pass that computes the
    gradient of its input.
    """

    takes_activations = True

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The convolution and what follows it."""
        return (self.conv, *self.tail.layers)

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        return (self.tail.after_convolution.forward,)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        activation = () if self._activation_backward is None else (self._activation_backward,)
        return (*activation, *((_POOLED,) if self._pools_at_once(input_grad=True) else self.taken))

    @property
    def offers(self) -> type[Ending] | None:
        """The activation, where it is the last."""
        return ActivationEnding if self.tail.pool is None else None

    @cached_property
    def _activation_backward(self) -> str | None:
        """The operation back through the activation, unless the step behind does that."""
        if self.after.takes is not None:
            return None
        operation = self.tail.after_convolution.backward[0]
        return operation if self.conv.bias is not None else "activate_backward"

    def _pools_at_once(self, *, input_grad: bool) -> bool:
        """Tell whether the gradient goes through pooling and convolution by one operation.

        There is none that also adds the gradient of a shortcut, or does the sums of a normalisation.
        """
        apart = input_grad and (self.meets_shortcut or self.before.takes is NormEnding)
        return self.tail.pool is not None and not apart

    def ending(self, context: Context) -> ActivationEnding | None:
        """Return the convolution's bias."""
        return None if self.after.takes is None else ActivationEnding(self.conv.bias)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, the output, and that of the pooling."""
        conv = self.conv
        x = conv.checked_input(x, stored=self.before.stored)
        y, pooled = convolve(conv, self.tail, x, self.output_dtype(training=training))
        return y, ((x, y, pooled) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""
        conv, activation, pool = self.conv, self.tail.activation, self.tail.pool
        x, y, pooled = self.layers[1].check_context(context)
        grad = self.layers[-1].check_grad(grad_output, y.shape)
        if self._activation_backward is not None and activation is not None:
            grad = self._before_activation(self._activation_backward, activation, grad, y)
        if pool is None:
            return convolution_backward(conv, grad, x, wanted)
        if not self._pools_at_once(input_grad=wanted.input_grad):
            return convolution_backward(conv, pool.backward(grad, pooled), x, wanted)
        argmax, shape = pooled
        ending, windows = wanted.ending, pool.windows_of(shape)
        return conv.backward_max_pool(
            *(grad, argmax, windows, x),
            needs_input_grad=wanted.input_grad,
            rectified=ending is not None,
            bias=ending.bias if isinstance(ending, ActivationEnding) else None,
        ), None

    def _before_activation(self, operation: str, activation: PointwiseLayer, grad_output: Array, y: Array) -> Array:
        """Return the gradient before the activation; add that of the bias."""
        bias, backend = self.conv.bias, self.conv.backend
        grad = backend.empty(y.shape, y.dtype)
        if bias is None:
            backend.activate_backward(activation.activation, grad_output, y, out=grad)
        else:
            target = bias.grad_target()
            getattr(backend, operation)(grad_output, y, out=grad, grad_bias=target, workspace=backend.pool)
            bias.add_grad(target)
        return grad


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvNorm(_Convolution):
    """Convolution with the statistics of its output; normalisation and all that follows in one pass more.

    Backward two passes: the sums, and the gradient of the convolution's output. The step behind may have done the first
    (see `Link.takes`). A bias of the convolution has no effect but on the running mean.
    """

    stores = True
    norm: BatchNorm2d

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The convolution, the normalisation, and what follows it."""
        return (self.conv, self.norm, *self.tail.layers)

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        return ("conv2d_statistics", self.tail.after_norm.forward)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `Step`."""
        return (self._norm_backward, *self.taken)

    @cached_property
    def _norm_backward(self) -> str:
        """The operation back through the normalisation: what is left of it, if the step behind does the sums."""
        return self.tail.after_norm.backward[0] if self.after.takes is None else "batch_norm_backward_apply"

    @property
    def offers(self) -> type[Ending] | None:
        """Activation and normalisation, where they are the last."""
        return NormEnding if self.tail.activation is not None and self.tail.pool is None else None

    @property
    def stored(self) -> tuple[str, ...]:
        """See `Step`."""
        return ("convolution and its gradient", *super().stored)

    def ending(self, context: Context) -> NormEnding | None:
        """Return the normalisation with what it had in this step."""
        if self.after.takes is None:
            return None
        _, z, mean, var, _, _ = self.norm.check_context(context)
        return NormEnding(self.norm, z, mean, var)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, the convolution's output and its statistics, the output, and the argmax."""
        x = self.conv.checked_input(x, stored=self.before.stored)
        z, mean, var = self.statistics(x, training=training)
        y, argmax = self.normalise(z, mean, var, training=training)
        return y, ((x, z, mean, var, y, argmax) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""
        grad, _ = self.normalise_backward(grad_output, context, wanted)
        return convolution_backward(self.conv, grad, context[0], wanted)

    def frozen_convolution(self) -> Conv2d:
        """Return the convolution with the normalisation folded."""
        return folded(self.conv, self.norm)

    def statistics(self, x: Array, *, training: bool) -> tuple[Array, Array, Array]:
        """Convolve and return the output with the mean and variance to normalise it with."""
        conv, norm, backend = self.conv, self.norm, self.conv.backend
        if not training:
            return conv.convolve(x, "conv2d"), norm.running_mean.array, norm.running_var.array
        shape = conv.output_shape(x.shape)
        count = math.prod(shape[:-1])
        if count == 0:
            raise ShapeError(f"x of Conv2d: got shape {tuple(x.shape)} in training; allowed: at least one image")
        mean, var = norm.empty_statistics()
        z = backend.empty(shape, stored_dtype(conv))
        # A bias moves z and its mean alike. Left out it takes nothing of the precision that z is stored with.
        conv.convolve(x, "conv2d_statistics", out=z, bias=False, mean=mean, var=var)
        moved = mean[0]
        if conv.bias is not None:
            moved = backend.empty(norm.gamma.shape, norm.dtype)
            backend.add(mean[0], conv.bias.array, out=moved)
        norm.update(moved, var[0], count)
        return z, mean, var

    def normalise(
        self, z: Array, mean: Array, var: Array, *residual: Array, training: bool
    ) -> tuple[Array, Array | None]:
        """Return all that follows the convolution, and the argmax if there is a pooling."""
        backend, norm, pool = self.conv.backend, self.norm, self.tail.pool
        run, dtype = getattr(backend, self.tail.after_norm.forward), self.output_dtype(training=training)
        parts = (z, norm.gamma.array, norm.beta.array, mean, var, *residual)
        if pool is None:
            y = backend.empty(z.shape, dtype)
            run(*parts, eps=norm.eps, out=y)
            return y, None
        y, argmax, windows = pool.prepare(z.shape, dtype)
        run(*parts, eps=norm.eps, windows=windows, out=y, argmax=argmax, workspace=backend.pool)
        return y, argmax

    def normalise_backward(self, grad_output: Array, context: Context, wanted: Wanted) -> tuple[Array, Array | None]:
        """Return the gradient of the convolution's output, and that of the residual if there is one."""
        backend, norm, tail = self.conv.backend, self.norm, self.tail
        _, z, mean, var, y, argmax = norm.check_context(context)
        grad_output = self.layers[-1].check_grad(grad_output, y.shape)
        grad, run = backend.empty(z.shape, z.dtype), getattr(backend, self._norm_backward)
        parts = (z, norm.gamma.array, mean, var)
        more = {"eps": norm.eps, "grad_input": grad, "workspace": backend.pool}
        residual = None
        if wanted.sums is not None:  # and grad_output is behind the activation already, and nobody else's
            run(grad_output, *parts, **wanted.sums, **more)
            residual = grad_output
        else:
            if tail.adds:
                residual = backend.empty(z.shape, norm.dtype)
                more["grad_residual"] = residual
            if tail.pool is not None:
                more["windows"] = tail.pool.windows_of(z.shape)
            saved = () if tail.activation is None else (y,) if tail.pool is None else (y, argmax)
            sums = norm.grad_targets()
            run(grad_output, *saved, *parts, **more, **sums)
            norm.add_grads(sums)
        self.conv.no_gradient_of_bias()
        return grad, residual
