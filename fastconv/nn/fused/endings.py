"""Ends of steps that the next step does backward, in the pass that computes the gradient of its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fastconv.backends.contract.types import Array
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.pointwise import Activation
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d

ChannelSums = Mapping[str, Array]
"""The gradients of gamma and beta of a normalisation."""

Gradient = tuple[Array | None, ChannelSums | None]
"""That of a step's input, and the sums of the step before where this one has computed them."""


@dataclass(frozen=True, eq=False)
class ActivationEnding:
    """``x = activation(z)``, where z is a convolution with that bias; `saved` is x or z, as the activation needs."""

    operation: ClassVar[str] = "conv2d_backward_input"
    activation: Activation
    saved: Array
    bias: Parameter | None

    def input_gradient(self, conv: Conv2d, grad_output: Array, x: Array, addend: Array | None) -> Gradient:
        """Return the gradient of z, and add that of the bias."""
        return conv.backward_input(grad_output, x, addend=addend, **self.through), None

    @property
    def through(self) -> dict[str, Any]:
        """What a convolution is given to do that."""
        return {"activation": self.activation, "saved": self.saved, "bias": self.bias}


@dataclass(frozen=True, eq=False)
class NormEnding:
    """``x = activation(batch_norm(z))``, perhaps with a shortcut added before the activation.

    Attributes
    ----------
    saved, norm_addend : Array or None
        As `conv2d_backward_input_norm` takes them.
    """

    operation: ClassVar[str] = "conv2d_backward_input_norm"
    norm: BatchNorm2d
    z: Array
    mean: Array
    var: Array
    epilogue: Epilogue
    saved: Array | None
    norm_addend: Array | None

    def input_gradient(
        self, conv: Conv2d, grad_output: Array, x: Array, addend: Array | None, **pooled: Any
    ) -> Gradient:
        """Return the gradient through the activation, and those of gamma and beta, which are added, too.

        With `argmax` and `windows` the gradient given is that of a pooling after the convolution.
        """
        norm, sums = self.norm, self.norm.grad_targets()
        forward = (self.z, norm.gamma.array, self.mean, self.var, self.epilogue)
        saved = {"beta": norm.beta.array, "saved": self.saved, "norm_addend": self.norm_addend}
        more = {**saved, **sums, **pooled}
        grad = conv.backward_input_norm(grad_output, x, *forward, addend=addend, eps=norm.eps, **more)
        norm.add_grads(sums)
        return grad, sums


Ending = ActivationEnding | NormEnding


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a step is asked for backward, beside the gradients of its parameters.

    Attributes
    ----------
    input_grad : bool
        Whether the gradient of its input is needed; all below come only with it.
    addend : array or None
        Is added to that; may be written to.
    ending : Ending or None
        Of the step before, to be done with it.
    sums : ChannelSums or None
        Its own, where the next step has computed them.
    """

    input_grad: bool
    addend: Array | None = None
    ending: Ending | None = None
    sums: ChannelSums | None = None


def convolution_backward(conv: Conv2d, grad_output: Array, x: Array, wanted: Wanted) -> Gradient:
    """Gradients of weight and input, not of the bias."""
    conv.backward_weight(grad_output, x)
    if not wanted.input_grad:
        return None, None
    if wanted.ending is not None:
        return wanted.ending.input_gradient(conv, grad_output, x, wanted.addend)
    return conv.backward_input(grad_output, x, addend=wanted.addend), None
