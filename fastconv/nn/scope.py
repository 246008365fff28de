"""How a model is set up: layers declare their parameters in a scope, and the draft of the model collects them.

`Layer.build` allocates what was declared. `Layer.summary` makes a dry draft, in which shallow copies of the layers
are set up, so that the model itself does not change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from fastconv import random
from fastconv.backends.base import Shape
from fastconv.errors import FastconvError, ShapeError
from fastconv.nn.initializers import DRAWS
from fastconv.nn.parameter import Buffer, Parameter

if TYPE_CHECKING:
    from fastconv.nn.layer import Layer

_Tensor = TypeVar("_Tensor", bound=Buffer)


@dataclass(frozen=True)
class Visit:
    """A layer without layers inside, at one of its places; `parameters` counts what it declared there first."""

    path: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape
    parameters: int


@dataclass(eq=False)
class Draft:
    """What was declared so far."""

    seed: int
    dry: bool = False
    tensors: list[tuple[Buffer, Callable[[], np.ndarray]]] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    declared: dict[int, dict[str, Buffer]] = field(default_factory=dict)


class Scope:
    """Where a layer declares its parameters. The second time a layer is met, it gets the same ones."""

    def __init__(self, draft: Draft, layer: Layer, path: str = "") -> None:
        self._draft, self._layer, self._path = draft, layer, path
        self._known = draft.declared.get(id(layer))
        self._mine = draft.declared.setdefault(id(layer), {})

    def setup_layer(self, input_shape: Shape) -> Shape:
        """Set up the layer of this scope; an error gets the layer's path."""
        target = copy.copy(self._layer) if self._draft.dry else self._layer
        leaf = not target.children()
        try:
            output_shape = target.setup(input_shape, self)
        except FastconvError as error:
            if not leaf:
                raise
            raise type(error)(f"layer {self._path or '.'} ({type(target).__name__}): {error}") from error
        if leaf:
            new = () if self._known is not None else self._mine.values()
            count = sum(tensor.size for tensor in new if isinstance(tensor, Parameter))
            self._draft.visits.append(Visit(self._path, target, input_shape, output_shape, count))
        return output_shape

    def child(self, name: str, layer: Layer, input_shape: Shape) -> Shape:
        """Set up a layer inside of this one and return the shape of its output."""
        return Scope(self._draft, layer, self._join(name)).setup_layer(input_shape)

    def parameter(self, name: str, shape: Shape, *, init: str, fan_in: int = 1, fan_out: int = 1) -> Parameter:
        """Declare a parameter; `init` is the name of an initialiser, or "ones"."""
        full, seed, draw = self._join(name), self._draft.seed, DRAWS[init]
        return self._declare(
            Parameter, name, shape, lambda: draw(random.host_generator(seed, full), shape, fan_in, fan_out)
        )

    def buffer(self, name: str, shape: Shape, *, value: float) -> Buffer:
        """Declare a buffer that starts as `value`."""
        return self._declare(Buffer, name, shape, lambda: np.full(shape, value))

    def _declare(self, cls: type[_Tensor], name: str, shape: Shape, draw: Callable[[], np.ndarray]) -> _Tensor:
        if self._known is not None:
            known = self._known[name]
            if known.shape != shape:
                raise ShapeError(
                    f"{name}: got shape {shape} where the layer is used again; allowed: {known.shape}, as before"
                )
            return cast(_Tensor, known)
        tensor = cls(self._join(name), shape)
        self._mine[name] = tensor
        self._draft.tensors.append((tensor, draw))
        return tensor

    def _join(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name
