"""A residual block and the activation after it as one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from fastconv._attributes import computes_as
from fastconv.backends.contract.types import Array, Shape
from fastconv.kernels.pointwise import Activation
from fastconv.nn.core.layer import AbstractLayer, Context, FrozenForward
from fastconv.nn.core.outputs import check_alike
from fastconv.nn.fused.convolution import ConvNorm, convolve
from fastconv.nn.fused.endings import Ending, Gradient, NormEnding, Wanted, convolution_backward
from fastconv.nn.fused.steps import FusedStep, Link, frozen_steps, run_backward, run_forward
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.simple import Identity


@dataclass(frozen=True, eq=False, kw_only=True)
class ResidualActivation(FusedStep):
    """``activation(body(x) + shortcut(x))``, where the body ends in convolution and normalisation.

    The last pass of the body adds the shortcut and applies the activation; where the two paths meet backward, the
    gradient of the shortcut is added in the pass that computes the body's.

    Attributes
    ----------
    block, activation : Layer
        Those that it stands for.
    body : tuple of FusedStep
        All of the body but the last.
    last : ConvNorm
        The last of the body, with the sum and the activation.
    shortcut : Layer
    """

    stores = True
    block: AbstractLayer
    activation: PointwiseLayer
    body: tuple[FusedStep, ...]
    last: ConvNorm
    shortcut: AbstractLayer

    @property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """The block and the activation."""
        return (self.block, self.activation)

    @property
    def first(self) -> FusedStep:
        """The first step of the body."""
        return self.body[0] if self.body else self.last

    @property
    def convolution(self) -> Conv2d:
        """The last one of the body."""
        return self.last.conv

    def infer_to_convolution(self, input_shape: Shape) -> Shape:
        """Return the shape that the body's other steps put out."""
        for step in self.body:
            for layer in step.layers:
                input_shape = layer.infer(input_shape)
        return input_shape

    @property
    def opening(self) -> FusedStep | None:
        """That of the body."""
        return self.first.opening

    @property
    def inside(self) -> Sequence[FusedStep | AbstractLayer]:
        """The steps of the body before the last, and the shortcut."""
        return [*self.body, self.shortcut]

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return self.last.forward_operations

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`; what the first convolution takes over from the step before is named there."""
        met = ("conv2d_backward_input + add",) if self.first.adds_shortcut else ()
        return (*self.last.backward_operations, *met)

    @property
    def adds_shortcut(self) -> bool:
        """It adds that of another block by itself."""
        return False

    @property
    def offers(self) -> tuple[type[Ending], Activation, BatchNorm2d | None] | None:
        """As its last convolution."""
        return self.last.offers

    @property
    def reads_stored(self) -> bool:
        """It does where the shortcut passes on what it gets."""
        return computes_as(type(self.shortcut)) is Identity and self.first.reads_stored

    @property
    def stored(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return self.last.stored

    @property
    def owns_grad(self) -> bool:
        """A sum."""
        return True

    def linked(
        self, *, before: Link | None = None, after: Link | None = None, meets_shortcut: bool | None = None
    ) -> Self:
        """Return this step with other neighbours, which those inside of it at its ends see, too."""
        step = super().linked(before=before, after=after, meets_shortcut=meets_shortcut)
        last, body = self.last.linked(after=after), self.body
        if body:
            body = (body[0].linked(before=before, meets_shortcut=True), *body[1:])
        else:
            last = last.linked(before=before, meets_shortcut=True)
        return replace(step, body=body, last=last)

    def ending(self, context: Context) -> NormEnding | None:
        """Return that of its last convolution."""
        return self.last.ending(self.activation.check_context(context, 3)[1])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the block; the context is those of the body's steps, that of the last one, and the shortcut's."""
        last = self.last
        value, contexts = run_forward(self.body, x, training=training)
        value = last.conv.checked_input(value, stored=last.before.stored)
        z, mean, var = last.statistics(value, training=training)
        residual, shortcut_context = x, None
        if not self.before.stored:
            residual, shortcut_context = self.shortcut.forward(x, training=training)
            check_alike([z.shape, residual.shape])
        y, kept = last.normalise(z, mean, var, residual, training=training)
        return y, ((contexts, (value, z, mean, var, kept), (x.shape, shortcut_context)) if training else None)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run the block backward."""
        last = self.last
        contexts, last_context, (shape, shortcut_context) = self.activation.check_context(context, 3)
        grad, residual = last.normalise_backward(grad_output, last_context, wanted)
        rest = self.shortcut.backward(residual, shortcut_context, needs_input_grad=wanted.input_grad)
        if rest is not None:
            check_alike([shape, rest.shape])
        if rest is not None and wanted.addend is not None:
            last.conv.backend.add(rest, wanted.addend, out=wanted.addend)
            rest = wanted.addend
        body = self.body
        if not wanted.input_grad:  # then nothing before what is trained is needed either
            first = next((i for i, step in enumerate(body) if step.is_trained), len(body))
            body, contexts = body[first:], contexts[first:]
        if not body:
            wanted = replace(wanted, addend=rest)
            return convolution_backward(last.conv, grad, last_context[0], wanted)
        own = Wanted(True, None, body[-1].ending(contexts[-1]))
        result, sums = convolution_backward(last.conv, grad, last_context[0], own)
        return run_backward(body, contexts, result, replace(wanted, addend=rest, sums=sums))

    def frozen(self) -> FrozenForward:
        """Return the block with its normalisations folded."""
        last, tail = self.last.frozen_convolution(), self.last.tail
        body, shortcut = frozen_steps(self.body), self.shortcut.frozen()
        return lambda x: convolve(last, tail, last.checked_input(body(x)), last.dtype, shortcut(x))[0]
