"""Ends of steps that the step behind does backward, in the pass that computes the gradient of its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastconv.backends.contract.types import Array
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d

Sums = Mapping[str, Array]
"""The gradients of gamma and beta of a normalisation."""

Gradient = tuple[Array | None, Sums | None]
"""That of a step's input, and the sums of the step before where this one has computed them."""


@dataclass(frozen=True, eq=False)
class ActivationEnding:
    """``x = relu(z)``, where z is a convolution with that bias."""

    operation: ClassVar[str] = "conv2d_backward_input_relu"
    bias: Parameter | None

    def input_gradient(self, conv: Conv2d, grad_output: Array, x: Array, addend: Array | None) -> Gradient:
        """Return the gradient of z, and add that of the bias. There is no operation for this and an addend."""
        return conv.backward_input_relu(grad_output, x, self.bias), None


@dataclass(frozen=True, eq=False)
class NormEnding:
    """``x = relu(batch_norm(z))``, perhaps with a shortcut added before the rectifier."""

    operation: ClassVar[str] = "conv2d_backward_input_norm_relu"
    norm: BatchNorm2d
    z: Array
    mean: Array
    var: Array

    def input_gradient(self, conv: Conv2d, grad_output: Array, x: Array, addend: Array | None) -> Gradient:
        """Return the gradient behind the rectifier, and those of gamma and beta, which are added, too."""
        norm, sums = self.norm, self.norm.grad_targets()
        statistics = {"mean": self.mean, "var": self.var, "eps": norm.eps}
        grad = conv.backward_input_norm_relu(grad_output, x, addend, self.z, **statistics, **sums)
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
    sums : Sums or None
        Its own, where the step behind has computed them.
    """

    input_grad: bool
    addend: Array | None = None
    ending: Ending | None = None
    sums: Sums | None = None


def convolution_backward(conv: Conv2d, grad_output: Array, x: Array, wanted: Wanted) -> Gradient:
    """Gradients of weight and input, not of the bias."""
    conv.backward_weight(grad_output, x)
    if not wanted.input_grad:
        return None, None
    if wanted.ending is not None:
        return wanted.ending.input_gradient(conv, grad_output, x, wanted.addend)
    return conv.backward_input(grad_output, x, wanted.addend), None
