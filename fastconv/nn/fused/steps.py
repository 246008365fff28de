"""The steps of a plan: what runs as one, and what neighbours know of each other. Nothing of them ever changes.

A step is one layer as it is (`Single`), or a convolution with what follows it (convolution.py, residual.py). Steps give
what their layers give, up to rounding. patterns.py finds them.

Each names the operations of the backend that it calls with all that they do beside, as ``conv2d + relu``, for
`fastconv.explain`; a test holds these names to the calls.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Protocol, Self

import numpy as np

from fastconv._attributes import computes_as, is_ours
from fastconv.backends.contract.types import Array, Shape
from fastconv.kernels.pointwise import Activation
from fastconv.nn.core.layer import AbstractLayer, Context, FrozenForward
from fastconv.nn.fused.endings import Ending, Gradient, Wanted, convolution_backward
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.precision import get_precision


@dataclass(frozen=True)
class Link:
    """What two neighbouring steps know of the activation between them.

    Attributes
    ----------
    stored : bool
        In training it is in the type in which the backend stores activations (`Backend.kept_dtype`).
    end : kind of Ending, or None
        The end of the first one that the second one can do backward.
    activation : str
        The one that is done with it.
    norm : BatchNorm2d or None
        Its normalisation, if it has one.
    """

    stored: bool = False
    end: type[Ending] | None = None
    activation: str = ""
    norm: BatchNorm2d | None = None

    @property
    def takes(self) -> type[Ending] | None:
        """The end of the first one that the second one does backward; a normalisation's not while that is frozen."""
        return None if self.norm is not None and self.norm.is_frozen else self.end


OUTSIDE = Link()


@dataclass(frozen=True, eq=False, kw_only=True)
class FusedStep(abc.ABC):
    """What runs as one.

    Attributes
    ----------
    before, after : Link
        To the steps around it.
    meets_shortcut : bool
        Whether it opens the body of a residual block: the gradient of the shortcut is its addend.
    takes_activations, stores : bool
        Whether it can do the end of a step without a normalisation backward; whether its output may be stored as the
        backend stores activations.
    """

    takes_activations: ClassVar[bool] = False
    stores: ClassVar[bool] = False
    before: Link = OUTSIDE
    after: Link = OUTSIDE
    meets_shortcut: bool = False

    @property
    @abc.abstractmethod
    def layers(self) -> tuple[AbstractLayer, ...]:
        """Those that it stands for."""

    @abc.abstractmethod
    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the layers."""

    @abc.abstractmethod
    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run them backward."""

    @abc.abstractmethod
    def frozen(self) -> FrozenForward:
        """Return what computes the layers for inference, normalisations folded."""

    @property
    def forward_operations(self) -> tuple[str, ...]:
        """The operations of the backend that it calls in training; none for a layer of its own."""
        return ()

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """Those that it calls backward, where the gradient of its input is wanted."""
        return ()

    @property
    def convolution(self) -> Conv2d | None:
        """The convolution that it runs, if any."""
        return None

    def infer_to_convolution(self, input_shape: Shape) -> Shape:
        """Return the shape of one image that the convolution gets, for one of the step's input."""
        return input_shape

    @property
    def opening(self) -> FusedStep | None:
        """The step, it or one inside of it, whose convolution its input goes to."""
        return None if self.convolution is None else self

    @property
    def inside(self) -> Sequence[FusedStep | AbstractLayer]:
        """What runs inside of it as steps of their own."""
        return [layer for layer in self.layers if layer.children()]

    @property
    def offers(self) -> tuple[type[Ending], Activation, BatchNorm2d | None] | None:
        """The end that the next step may do backward, the activation there, and the normalisation if there is one."""
        return None

    @property
    def reads_stored(self) -> bool:
        """Whether it can read an input that is stored as the backend stores activations."""
        return False

    @property
    def stored(self) -> tuple[str, ...]:
        """What of it is stored so in training."""
        return ("output",) if self.after.stored else ()

    @property
    def owns_output(self) -> bool:
        """Whether its output is an array that nobody else refers to, nor backward looks at."""
        return self.layers[-1].owns_output

    @property
    def owns_grad(self) -> bool:
        """The same of the gradient of its input."""
        return self.layers[0].owns_grad

    @property
    def is_trained(self) -> bool:
        """Whether there is a parameter in it that is not frozen."""
        return any(layer.is_trained() for layer in self.layers)

    @property
    def adds_shortcut(self) -> bool:
        """Whether its convolution adds the gradient of a shortcut, by an operation for that alone."""
        return self.meets_shortcut and self.convolution is not None and self.before.takes is None

    @property
    def taken(self) -> tuple[str, ...]:
        """The operation that does the end of the step before, if it does."""
        return () if self.before.takes is None else (f"{self.before.takes.operation} + {self.before.activation}",)

    def linked(
        self, *, before: Link | None = None, after: Link | None = None, meets_shortcut: bool | None = None
    ) -> Self:
        """Return this step with other neighbours."""
        return replace(
            self,
            before=self.before if before is None else before,
            after=self.after if after is None else after,
            meets_shortcut=self.meets_shortcut if meets_shortcut is None else meets_shortcut,
        )

    def ending(self, context: Context) -> Ending | None:
        """Return what the next step is to do of it, see `Link.takes`."""
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class Single(FusedStep):
    """One layer, run as it is."""

    layer: AbstractLayer

    @property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """It alone."""
        return (self.layer,)

    @cached_property
    def convolution(self) -> Conv2d | None:
        """The layer, if it is a convolution."""
        layer = self.layer
        return layer if isinstance(layer, Conv2d) and is_ours(computes_as(type(layer))) else None

    @property
    def backward_operations(self) -> tuple[str, ...]:
        """See `FusedStep`."""
        return self.taken

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Run the layer."""
        return self.layer.forward(x, training=training)

    def backward(self, grad_output: Array, context: Context, wanted: Wanted) -> Gradient:
        """Run it backward."""
        layer, conv = self.layer, self.convolution
        if conv is not None:
            x = conv.check_context(context, "array")
            grad_output = conv.check_grad(grad_output, conv.output_shape(x.shape))
            conv.backward_bias(grad_output)
            return convolution_backward(conv, grad_output, x, wanted)
        grad = layer.backward(grad_output, context, needs_input_grad=wanted.input_grad)
        if wanted.addend is None or grad is None:
            return grad, None
        layer.backend.add(grad, wanted.addend, out=wanted.addend)
        return wanted.addend, None

    def frozen(self) -> FrozenForward:
        """Return what computes the layer."""
        return self.layer.frozen()


class Alone(Single):
    """One layer of which nothing but its own `forward` and `backward` is called: for who looks at these."""

    convolution = None


def stored_dtype(layer: AbstractLayer) -> np.dtype:
    """Return the type in which the backend of a layer stores activations in the active precision."""
    return layer.backend.kept_dtype(layer.dtype, get_precision())


Pass = Literal["forward", "backward"]
"""Which way a step runs."""


class Watcher(Protocol):
    """Is told which steps run; see `watcher`."""

    def begins(self, step: FusedStep, direction: Pass, x: Array) -> None:
        """Note that a step begins, with this input or gradient."""
        ...

    def ends(self, result: Array | None) -> None:
        """Note that the one that began last has ended, with this output or gradient."""
        ...


watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
"""Whom the steps of all plans that run tell of it, in this thread: `fastconv.explain`."""


def frozen_steps(steps: Sequence[FusedStep]) -> FrozenForward:
    """Return what computes steps one after the other for inference."""
    parts = [step.frozen() for step in steps]

    def run(x: Array) -> Array:
        for part in parts:
            x = part(x)
        return x

    return run


def run_forward(steps: Sequence[FusedStep], x: Array, *, training: bool) -> tuple[Array, tuple[Context, ...]]:
    """Run steps one after the other; return the result and their contexts."""
    watching, contexts = watcher.get(), []
    for step in steps:
        if watching is not None:
            watching.begins(step, "forward", x)
        x, context = step.forward(x, training=training)
        contexts.append(context)
        if watching is not None:
            watching.ends(x)
    return x, tuple(contexts)


def run_backward(
    steps: Sequence[FusedStep], contexts: Sequence[Context], grad_output: Array, wanted: Wanted
) -> Gradient:
    """Run steps backward one after the other; `wanted` is of all, so its `sums` are the last one's."""
    watching, grad, sums = watcher.get(), grad_output, wanted.sums
    for i in range(len(steps) - 1, -1, -1):
        if i == 0:
            now = Wanted(wanted.input_grad, wanted.addend, wanted.ending, sums)
        else:
            now = Wanted(True, None, steps[i - 1].ending(contexts[i - 1]), sums)
        if watching is not None:
            watching.begins(steps[i], "backward", grad)
        grad, sums = steps[i].backward(grad, contexts[i], now)
        if watching is not None:
            watching.ends(grad)
    return grad, sums
