"""Which layers run as one.

What is looked for, in this order:

- a residual block whose body ends in convolution and normalisation, and the activation after it
- a convolution with a max pooling and a normalisation after it, and an activation and max pooling after these
- a convolution with as much of normalisation, activation and max pooling as comes after it, in this order; a pooling
  only after an activation

Between neighbours: where a step ends in an activation, with or without a normalisation before it, and the next one
begins with a convolution, the latter does the former's end backward, where it computes the gradient of its input. And
where both know how, the activation between them is stored as the backend stores activations.

Layers of derived classes count if they compute as the layers of fastconv that they are derived from do (see
`fastconv._attributes.computes_as`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from fastconv._attributes import computes_as, is_ours
from fastconv.kernels.epilogue import Epilogue, Native
from fastconv.nn.core.layer import AbstractLayer, Chain, Sum
from fastconv.nn.fused.convolution import ConvActivation, ConvNorm
from fastconv.nn.fused.endings import ActivationEnding, NormEnding
from fastconv.nn.fused.pool_norm import ConvPoolNorm
from fastconv.nn.fused.residual import ResidualActivation
from fastconv.nn.fused.steps import OUTSIDE, FusedStep, Link, Single
from fastconv.nn.fused.tail import Tail
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import MaxPool2d

_Layer = TypeVar("_Layer", bound=AbstractLayer)


def find_steps(layers: Sequence[AbstractLayer], native: Mapping[str, Native]) -> tuple[FusedStep, ...]:
    """Cut `layers` into steps, for a backend whose kernels do what is `native`."""
    steps: list[FusedStep] = []
    i = 0
    while i < len(layers):
        step = _residual(layers[i : i + 2], native) or _convolution(layers[i : i + 5]) or Single(layer=layers[i])
        steps.append(step)
        i += len(step.layers)
    links = [_link(*pair, native) for pair in itertools.pairwise(steps)]
    ends = zip(steps, [OUTSIDE, *links], [*links, OUTSIDE], strict=True)
    return tuple(step.linked(before=before, after=after) for step, before, after in ends)


def _link(first: FusedStep, second: FusedStep, native: Mapping[str, Native]) -> Link:
    """Return what two neighbours know of what is between them.

    The end of a normalisation is only worth it where that saves a pass over memory.
    """
    stored = first.stores and second.reads_stored
    if first.offers is not None:
        ending, activation, norm = first.offers
        if ending is ActivationEnding and second.takes_activations:
            return Link(stored=True, end=ending, activation=activation.name)
        saves = Epilogue(activation=activation) in native.get(NormEnding.operation, Native())
        if ending is NormEnding and second.opening is not None and saves:
            return Link(stored=stored, end=ending, activation=activation.name, norm=norm)
    return Link(stored=stored)


def _is(layer: AbstractLayer | None, kind: type[_Layer]) -> _Layer | None:
    """Return the layer if it is of this kind, and computes as that."""
    return layer if isinstance(layer, kind) and is_ours(computes_as(type(layer))) else None


def _convolution(layers: Sequence[AbstractLayer]) -> ConvNorm | ConvPoolNorm | ConvActivation | None:
    conv, norm = _is(layers[0], Conv2d), _is(layers[1], BatchNorm2d) if len(layers) > 1 else None
    if conv is None:
        return None
    pool, pooled = (_is(layers[1], MaxPool2d), _is(layers[2], BatchNorm2d)) if len(layers) > 2 else (None, None)
    if pool is not None and pooled is not None and pooled.fuses:
        return ConvPoolNorm(conv=conv, pool=pool, norm=pooled, tail=_tail(layers[3:]))
    if norm is not None and norm.fuses:
        return ConvNorm(conv=conv, norm=norm, tail=_tail(layers[2:]))
    tail = _tail(layers[1:])
    return ConvActivation(conv=conv, tail=tail) if tail.layers else None


def _tail(layers: Sequence[AbstractLayer]) -> Tail:
    """Return as much of the layers as runs as one with what is before them."""
    activation = _is(layers[0], PointwiseLayer) if layers else None
    pool = _is(layers[1], MaxPool2d) if activation is not None and len(layers) > 1 else None
    return Tail(activation=activation, pool=pool)


def _residual(layers: Sequence[AbstractLayer], native: Mapping[str, Native]) -> ResidualActivation | None:
    block, activation = layers[0], _is(layers[-1], PointwiseLayer)
    made = block.structure()
    body = made.body.structure() if isinstance(made, Sum) else None
    if activation is None or not isinstance(made, Sum) or not isinstance(body, Chain):
        return None
    *before, last = find_steps(body.layers, native)
    if type(last) is not ConvNorm or last.tail.layers:
        return None
    return ResidualActivation(
        block=block,
        activation=activation,
        body=tuple(before),
        last=replace(last, tail=Tail(adds=True, activation=activation)),
        shortcut=made.shortcut,
    )
