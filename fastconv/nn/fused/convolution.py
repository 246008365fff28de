"""Convolutions that run with what follows them, which `Tail` describes: `ConvActivation` and `ConvNorm`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import ShapeError
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.pointwise import Activation
from fastconv.nn.core.layer import AbstractLayer, Context, FrozenForward
from fastconv.nn.fused.endings import ActivationEnding, Ending, Gradient, NormEnding, Wanted, convolution_backward
from fastconv.nn.fused.frozen import folded
from fastconv.nn.fused.pooled import Pooled
from fastconv.nn.fused.running import back_through, of_running
from fastconv.nn.fused.steps import FusedStep, stored_dtype
from fastconv.nn.fused.tail import Tail
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d


@dataclass(frozen=True, eq=False, kw_only=True)
class _Convolution(FusedStep):
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
        """Backward looks at what follows most activations, pooled or not."""
        return self.tail.activation is None or self.tail.keeps_before

    def frozen(self) -> FrozenForward:
        """Return the convolution with the normalisation folded, and what is left."""
        conv, tail = self.frozen_convolution(), self.tail
        return lambda x: convolve(conv, tail, conv.checked_input(x), conv.dtype)[0]

    def frozen_convolution(self) -> Conv2d:
        """Return the convolution with the normalisation folded."""
        return self.conv

    def output_dtype(self, *, training: bool) -> np.dtype:
        """Return the type of its output."""
        return stored_dtype(self.conv) if training and self.after.stored else self.conv.dtype


def convolve(
    conv: Conv2d, tail: Tail, x: Array, dtype: np.dtype, addend: Array | None = None, *, keep: bool = False
) -> tuple[Array, Array | None, Pooled | None]:
    """Return a convolution with its tail, in an array of that type, and what the pooling leaves.

    Between them, if it is to be kept, what the activation's gradient is computed from.
    """
    shape, empty = conv.output_shape(x.shape), conv.backend.empty
    before = empty(shape, dtype) if keep and tail.keeps_before else None
    more, pooled = {"addend": addend, "before": before}, None
    if tail.pool is None:
        y = empty(shape, dtype)
    else:
        y, more["argmax"], windows = tail.pool.prepare(shape, dtype)
        pooled = Pooled(windows, more["argmax"], shape)
    conv.convolve(x, tail.epilogue(shape), out=y, **more)
    return y, y if before is None else before, pooled


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvActivation(_Convolution):
    """Convolution and activation in one pass, and a max pooling after them where there is one.

    Backward the activation and the gradient of the bias in one pass; a pooling's result tells the gradient of an
    activation that needs no more than its result. Where one such step feeds another directly, the latter does that in
    the pass that computes the gradient of its input.
    """

    takes_activations = True

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The convolution and what follows it."""
        return (self.conv, *self.tail.layers)

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return (self.tail.after("conv2d"),)

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        own = () if self.after.takes is not None else (f"{self._activation_backward} + {self._activation.name}",)
        if self.tail.pool is None or self.tail.keeps_before:
            return (*own, *self.taken)
        return (*own, *Pooled.operations(self))

    @property
    def offers(self) -> tuple[type[Ending], Activation, BatchNorm2d | None] | None:
        """The activation, where it is the last."""
        return (ActivationEnding, self._activation, None) if self.tail.pool is None else None

    @property
    def _activation(self) -> Activation:
        """That of the tail, which has one."""
        return cast(PointwiseLayer, self.tail.activation).activation

    @property
    def _activation_backward(self) -> str:
        """The operation back through the activation, where the next step does not do that."""
        return "activate_backward" if self.conv.trained_bias is None else "activate_backward_bias"

    def ending(self, context: Context) -> ActivationEnding | None:
        """Return the activation, and the convolution's bias."""
        if self.after.takes is None:
            return None
        _, saved, _ = self.layers[1].check_context(context, 3)
        return ActivationEnding(self._activation, saved, self.conv.trained_bias)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, what the activation's gradient is computed from, and that of the pooling."""
        conv = self.conv
        x = conv.checked_input(x, stored=self.before.stored)
        y, saved, pooled = convolve(conv, self.tail, x, self.output_dtype(training=training), keep=training)
        return y, ((x, saved, pooled) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""
        conv, pool = self.conv, self.tail.pool
        x, saved, pooled = self.layers[1].check_context(context, 3)
        grad = self.layers[-1].check_grad(grad_output, saved.shape if pool is None else pooled.argmax.shape)
        if pool is not None and self.tail.keeps_before:
            grad = pooled.backward(conv, grad)
        if self.after.takes is None:
            grad = self._before_activation(grad, saved)
        if pool is None or self.tail.keeps_before:
            return convolution_backward(conv, grad, x, wanted)
        backward: Gradient = pooled.convolution_backward(conv, grad, x, wanted)
        return backward

    def _before_activation(self, grad_output: Array, saved: Array) -> Array:
        """Return the gradient before the activation; add that of the bias."""
        bias, backend, activation = self.conv.trained_bias, self.conv.backend, self._activation
        grad = backend.empty(saved.shape, saved.dtype)
        if bias is None:
            backend.activate_backward(activation, grad_output, saved, out=grad)
        else:
            more = {"out": grad, "grad_bias": bias.grad_target(), "workspace": backend.pool}
            backend.activate_backward_bias(activation, grad_output, saved, **more)
            bias.add_grad(more["grad_bias"])
        return grad


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvNorm(_Convolution):
    """Convolution with the statistics of its output; normalisation and all that follows in one pass more.

    Backward two passes: the sums, and the gradient of the convolution's output. The next step may have done the first
    (see `Link.takes`). A bias of the convolution has no effect but on the running mean.

    While the normalisation is frozen it runs as in inference, and backward part by part.
    """

    stores = True
    norm: BatchNorm2d

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The convolution, the normalisation, and what follows it."""
        return (self.conv, self.norm, *self.tail.layers)

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return ("conv2d" if self.norm.is_frozen else "conv2d_statistics", self.tail.after("normalise"))

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return (*(() if self.norm.is_frozen else (self._norm_backward,)), *self.taken)

    @property
    def _norm_backward(self) -> str:
        """The operation back through the normalisation: what is left of it, if the next step does the sums."""
        return self.tail.after("batch_norm_backward") if self.after.takes is None else "batch_norm_backward_apply"

    @property
    def offers(self) -> tuple[type[Ending], Activation, BatchNorm2d | None] | None:
        """Activation and normalisation, where they are the last."""
        activation, pool = self.tail.activation, self.tail.pool
        return None if activation is None or pool is not None else (NormEnding, activation.activation, self.norm)

    @property
    def stored(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return () if self.norm.is_frozen else ("convolution and its gradient", *super().stored)

    def output_dtype(self, *, training: bool) -> np.dtype:
        """Return the type of its output."""
        return self.conv.dtype if self.norm.is_frozen else super().output_dtype(training=training)

    def ending(self, context: Context) -> NormEnding | None:
        """Return the normalisation with what it had in this step."""
        _, z, mean, var, kept = self.norm.check_context(context, 5)
        if self.after.takes is None or of_running(mean):
            return None
        return NormEnding(self.norm, z, mean, var, self.tail.epilogue(z.shape), kept["saved"], kept["addend"])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run them; the context is x, the convolution's output and its statistics, and what else backward needs."""
        x = self.conv.checked_input(x, stored=self.before.stored)
        z, mean, var = self.statistics(x, training=training)
        y, kept = self.normalise(z, mean, var, training=training)
        return y, ((x, z, mean, var, kept) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""
        grad, _ = self.normalise_backward(grad_output, context, wanted)
        return convolution_backward(self.conv, grad, context[0], wanted)

    def frozen_convolution(self) -> Conv2d:
        """Return the convolution with the normalisation folded."""
        return folded(self.conv, self.norm)

    def statistics(self, x: Array, *, training: bool) -> tuple[Array, Array, Array]:
        """Convolve and return the output with the mean and variance to normalise it with."""
        conv, norm = self.conv, self.norm
        if not training or norm.is_frozen:
            return conv.convolve(x), norm.running_mean.array, norm.running_var.array
        z = conv.backend.empty(conv.output_shape(x.shape), stored_dtype(conv))
        return z, *self.batch_statistics(x, NO_EPILOGUE, out=z)

    def batch_statistics(
        self, x: Array, epilogue: Epilogue, *, out: Array, argmax: Array | None = None
    ) -> tuple[Array, Array]:
        """Convolve, and what follows; return mean and variance of that, which the running ones move towards."""
        conv, norm, backend = self.conv, self.norm, self.conv.backend
        count = math.prod(out.shape[:-1])
        if count == 0:
            raise ShapeError(f"x of Conv2d: got shape {tuple(x.shape)} in training; allowed: at least one image")
        mean, var = norm.empty_statistics()
        # A bias moves z and its mean alike. Left out it takes nothing of the precision that z is stored with.
        conv.statistics(x, epilogue, out=out, argmax=argmax, mean=mean, var=var)
        moved = mean[0]
        if conv.bias is not None:
            moved = backend.empty(norm.gamma.shape, norm.dtype)
            backend.add(mean[0], conv.bias.array, out=moved)
        norm.update(moved, var[0], count)
        return mean, var

    def normalise(
        self, z: Array, mean: Array, var: Array, addend: Array | None = None, *, training: bool
    ) -> tuple[Array, dict[str, Array | None]]:
        """Return all that follows the convolution, and of that what `batch_norm_backward` takes."""
        backend, norm, tail = self.conv.backend, self.norm, self.tail
        dtype, argmax = self.output_dtype(training=training), None
        if tail.pool is None:
            y = backend.empty(z.shape, dtype)
        else:
            y, argmax, _ = tail.pool.prepare(z.shape, dtype)
        parts = (z, norm.gamma.array, norm.beta.array, mean, var, tail.epilogue(z.shape))
        more = {"addend": addend, "out": y, "argmax": argmax, "workspace": backend.pool}
        backend.normalise(*parts, eps=norm.eps, **more)
        saved = None if tail.activation is None or tail.keeps_before else y
        return y, {"saved": saved, "addend": addend if tail.keeps_before else None, "argmax": argmax}

    def normalise_backward(self, grad_output: Array, context: Context, wanted: Wanted) -> tuple[Array, Array | None]:
        """Return the gradient of the convolution's output, and that of the addend if there is one."""
        backend, norm, tail = self.conv.backend, self.norm, self.tail
        _, z, mean, var, kept = norm.check_context(context, 5)
        grad_output = self.layers[-1].check_grad(grad_output, (z if tail.pool is None else kept["argmax"]).shape)
        if of_running(mean):
            grad_addend = back_through(norm, tail, grad_output, (z, mean, var), kept)
            grad = norm.backward_running(grad_addend, var)
            self.conv.backward_bias(grad)
            return grad, grad_addend
        grad = backend.empty(z.shape, z.dtype)
        gamma = norm.gamma.array
        more: dict[str, Any] = {"eps": norm.eps, "grad_input": grad, "workspace": backend.pool}
        if wanted.sums is not None:  # and grad_output is through the activation already, and nobody else's
            backend.batch_norm_backward_apply(grad_output, z, gamma, mean, var, **wanted.sums, **more)
            grad_addend = grad_output
        else:
            grad_addend = backend.empty(z.shape, norm.dtype) if tail.adds else None
            more |= {"beta": norm.beta.array, **kept, "grad_addend": grad_addend}
            sums = norm.grad_targets()
            epilogue = tail.epilogue(z.shape)
            backend.batch_norm_backward(grad_output, z, gamma, mean, var, epilogue, **more, **sums)
            norm.add_grads(sums)
        self.conv.no_gradient_of_bias()
        return grad, grad_addend
