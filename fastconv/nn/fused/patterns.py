"""Which layers of a `Sequential` run as one.

A `Step` is one layer, or several that the backend computes in fewer passes over memory. What is looked for, in this
order:

- ``Residual(Sequential(..., Conv2d, BatchNorm2d), shortcut), ReLU``
- ``Conv2d, BatchNorm2d[, ReLU[, MaxPool2d]]``
- ``Conv2d, ReLU[, MaxPool2d]``

Between neighbours: where a step ends in a rectifier, with or without a normalisation before it, and the next one begins
with a convolution, the latter does the former's rectifier backward, where it computes the gradient of its input. And
where both know how (`Step.can_read_kept`), the activation between them is in the type in which the backend keeps it.

Only these very classes count, not those derived from them, which may do something else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from fastconv.nn.core.layer import Layer
from fastconv.nn.fused.convolution import ConvNorm, ConvReLU, ResidualReLU
from fastconv.nn.fused.steps import Step
from fastconv.nn.layers.activations import ReLU
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import MaxPool2d


def find_steps(layers: Sequence[Layer]) -> tuple[Step, ...]:
    """Cut `layers` into steps."""
    steps: list[Step] = []
    i = 0
    while i < len(layers):
        step = _residual(layers[i : i + 2]) or _convolution(layers[i : i + 4]) or Step(layers[i])
        steps.append(step)
        i += len(step.layers)
    for before, step in itertools.pairwise(steps):
        first = step.first()
        if isinstance(before, ConvReLU) and isinstance(step, ConvReLU) and before.pool is None:
            step.follow(before)
            before.keeps_output = True
            step.read_kept()
        elif before.ends_in_norm() and first is not None:
            first.follows_norm = before.norm_taken = True
        if isinstance(before, ConvNorm | ResidualReLU) and step.can_read_kept():
            before.keeps_output = True
            step.read_kept()
    return tuple(steps)


def _convolution(layers: Sequence[Layer]) -> Step | None:
    kinds = [type(layer) for layer in layers]
    patterns: tuple[tuple[tuple[type[Layer], ...], Callable[..., Step]], ...] = (
        ((Conv2d, BatchNorm2d, ReLU, MaxPool2d), ConvNorm),
        ((Conv2d, BatchNorm2d, ReLU), ConvNorm),
        ((Conv2d, BatchNorm2d), ConvNorm),
        ((Conv2d, ReLU, MaxPool2d), ConvReLU),
        ((Conv2d, ReLU), ConvReLU),
    )
    for pattern, step in patterns:
        if tuple(kinds[: len(pattern)]) == pattern:
            return step(*layers[: len(pattern)])
    return None


def _residual(layers: Sequence[Layer]) -> Step | None:
    from fastconv.nn.containers.branches import Residual, Sequential  # they look for steps themselves

    if len(layers) < 2 or type(layers[0]) is not Residual or type(layers[1]) is not ReLU:
        return None
    block = layers[0]
    if type(block.body) is not Sequential:
        return None
    steps = find_steps(block.body.layers)  # its own, not those that run when the body is called by itself
    last = steps[-1]
    if not isinstance(last, ConvNorm) or last.relu is not None:
        return None
    return ResidualReLU(block, layers[1], steps[:-1], last, block.shortcut)
