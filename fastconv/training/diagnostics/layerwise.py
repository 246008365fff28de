"""A model run layer by layer, without fusions, while somebody looks at what goes in and comes out of each."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol

from fastconv._within import holding
from fastconv.backends.contract.types import Array
from fastconv.nn import Layer
from fastconv.nn.core.layer import AbstractLayer, Context, arrange_all
from fastconv.nn.core.outputs import parts_of
from fastconv.nn.core.paths import paths_of
from fastconv.nn.fused.plan import fusing


@dataclass(frozen=True)
class Place:
    """A layer that has none inside.

    Attributes
    ----------
    name, kind : str
        Path and class.
    layer : Layer
        That of the copy that runs.
    """

    name: str
    kind: str
    layer: AbstractLayer

    def __str__(self) -> str:
        return f"layer {self.name} ({self.kind})" if self.name else f"the {self.kind}"


class Look(Protocol):
    """Is shown each layer as it runs, once for each of several outputs; arrays may be overwritten later."""

    def forward(self, place: Place, x: Array, y: Array) -> None:
        """Look at the input and the output."""
        ...

    def backward(self, place: Place, grad_output: Array, grad_input: Array | None) -> None:
        """Look at the gradients of the output, and of the input if it was computed."""
        ...


def layerwise(model: Layer, look: Look) -> Layer:
    """Return a copy of a built model whose layers run one by one, and are shown to `look`.

    The copy has parameters, gradients and running statistics of its own. Results differ from the model's by rounding.
    """
    copied = copy.deepcopy(model)
    with holding(fusing, False):
        arrange_all(copied)  # whatever containers there are: none may run layers past `_show`
    found: dict[int, Place] = {}
    for layer, path in paths_of(copied):
        if not layer.children() and id(layer) not in found:
            found[id(layer)] = Place(path, type(layer).__name__, layer)
    for place in found.values():
        _show(place, look)
    return copied


def _show(place: Place, look: Look) -> None:
    """Let a layer show what it computes; only this object, its class stays."""
    run_forward, run_backward = place.layer.forward, place.layer.backward

    def forward(x: Array, *, training: bool) -> tuple[Array, Context]:
        y, context = run_forward(x, training=training)
        for part in parts_of(y):
            look.forward(place, x, part)
        return y, context

    def backward(grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        grad_input = run_backward(grad_output, context, needs_input_grad=needs_input_grad)
        for part in parts_of(grad_output):
            look.backward(place, part, grad_input)
        return grad_input

    vars(place.layer).update(forward=forward, backward=backward)
