"""Steps: layers that run as one, by fused operations of the backend. `fastconv.nn.fused.patterns` finds them.

Steps give what their layers give, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastconv.backends.base import Array
from fastconv.nn.core.layer import Context, Layer
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.precision import get_precision


@dataclass(frozen=True)
class Wanted:
    """What a step is asked for backwards, beside the gradients of its parameters.

    Attributes
    ----------
    input_grad : bool
        Whether the gradient of its input is needed.
    addend : array or None
        Is added to that; may be written to.
    previous : Ending or None
        Of the step before, to be done with it.
    own : Ending or None
        Its own, where the step behind has done it.
    """

    input_grad: bool
    addend: Array | None = None
    previous: Ending | None = None
    own: Ending | None = None


@dataclass
class Ending:
    """How a step ends: ``y = relu(batch_norm(z))``, with a shortcut perhaps.

    The step behind it, if that begins with a convolution, can do the rectifier and the sums of the normalisation where
    it computes the gradient of y. Then `grads` are those of gamma and beta, and what it returns is the gradient behind
    the rectifier.
    """

    norm: BatchNorm2d
    z: Array
    mean: Array
    var: Array
    grads: dict[str, Array] | None = None


class Step:
    """One layer, run as it is.

    Attributes
    ----------
    layers : tuple of Layer
        Those that it stands for.
    forward_operations, backward_operations : tuple of str
        The fused operations of the backend that it calls in training, in order; none for a layer of its own.
    follows_norm : bool
        Whether it does, on backends that can, the rectifier and the sums of the normalisation that the step before it
        ends with (see `Ending`).
    norm_taken : bool
        Whether the step behind it does so with its own.
    meets_shortcut : bool
        Whether it opens the body of a `ResidualReLU`: the gradient of the shortcut is its addend.
    keeps_output, reads_kept : bool
        Whether in training its output, or its input, is in the type in which the backend keeps activations
        (`Backend.kept_dtype`), because the step on the other side of it knows that too.
    """

    forward_operations: tuple[str, ...] = ()
    _kept: tuple[str, ...] = ()

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers
        self.owns_output, self.owns_grad = layers[-1].owns_output, layers[0].owns_grad
        self.follows_norm = self.norm_taken = self.meets_shortcut = False
        self.keeps_output = self.reads_kept = False

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See the class."""
        return self._taken_over()

    def _taken_over(self) -> tuple[str, ...]:
        there = self.follows_norm and self.layers[0].backend.sums_norm_gradients
        return ("conv2d_backward_input_norm_relu",) if there else ()

    def ends_in_norm(self) -> bool:
        """Whether it ends in a normalisation and a rectifier."""
        return False

    def ending(self, context: Context) -> Ending | None:
        """Return its `Ending`, if there is a step behind that can do a part of it."""
        return None

    def first(self) -> Step | None:
        """Return the step, it or one inside of it, whose convolution its input goes to."""
        return self if self.convolution is not None else None

    def can_read_kept(self) -> bool:
        """Tell whether it takes an input as the backend keeps it."""
        return False

    def read_kept(self) -> None:
        """Note that its input will come so."""
        self.reads_kept = True

    @property
    def kept(self) -> tuple[str, ...]:
        """What of it is in training in the type in which the backend keeps activations."""
        return (*self._kept, *(["output"] if self.keeps_output else []))

    def _output_dtype(self, *, training: bool) -> np.dtype:
        """Return the type of its output."""
        layer = self.layers[0]
        return kept_dtype(layer) if training and self.keeps_output else layer.dtype

    @property
    def convolution(self) -> Conv2d | None:
        """The convolution that it runs, if any."""
        layer = self.layers[0]
        return layer if type(layer) is Conv2d else None

    def inside(self) -> Sequence[Step | Layer]:
        """What runs inside of it as steps of their own."""
        return [layer for layer in self.layers if layer.children()]

    def is_trained(self) -> bool:
        """Whether there is a parameter in it."""
        return any(layer.is_trained() for layer in self.layers)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the layers."""
        return self.layers[0].forward(x, training=training)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Array | None:
        """Run them backwards; return the gradient of the input if it is wanted."""
        layer = self.layers[0]
        addend = wanted.addend
        if type(layer) is Conv2d and (addend is not None or wanted.previous is not None):
            x = layer.check_context(context)
            grad_output = layer.check_grad(grad_output, layer.output_shape(x.shape))
            layer.backward_bias(grad_output)
            return conv_backward(layer, grad_output, x, wanted)
        grad = layer.backward(grad_output, context, needs_input_grad=wanted.input_grad)
        if addend is None or grad is None:
            return grad
        layer.backend.add(grad, addend, out=addend)
        return addend


def kept_dtype(layer: Layer) -> np.dtype:
    """Return the type in which the backend of a layer keeps activations in the active precision."""
    return layer.backend.kept_dtype(layer.dtype, get_precision())


def conv_backward(conv: Conv2d, grad_output: Array, x: Array, wanted: Wanted) -> Array | None:
    """Gradients of weight and input, not of the bias; the latter behind the step before if that is to be done."""
    conv.backward_weight(grad_output, x)
    if not wanted.input_grad:
        return None
    previous = wanted.previous
    if previous is None:
        return conv.backward_input(grad_output, x, wanted.addend)
    norm = previous.norm
    previous.grads = norm.grad_targets()
    statistics = {"mean": previous.mean, "var": previous.var, "eps": norm.eps}
    grad = conv.backward_input_norm_relu(grad_output, x, wanted.addend, previous.z, **statistics, **previous.grads)
    norm.add_grads(previous.grads)
    return grad


def run_backward(
    steps: Sequence[Step], contexts: Sequence[Context], grad_output: Array, wanted: Wanted
) -> Array | None:
    """Run steps backwards one after the other; `wanted` is of all, so its `own` is the last one's ending."""
    grad: Array | None = grad_output
    own = wanted.own
    for i in range(len(steps) - 1, -1, -1):
        if i == 0:
            return steps[0].backward(grad, contexts[0], replace(wanted, own=own))
        previous = ending_of(steps[i - 1], contexts[i - 1])
        grad = steps[i].backward(grad, contexts[i], Wanted(input_grad=True, previous=previous, own=own))
        own = previous
    return grad


def ending_of(step: Step, context: Context) -> Ending | None:
    """Return the `Ending` of a step that the one behind it is to do."""
    return step.ending(context) if step.norm_taken else None
