"""Layers one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from fastconv._attributes import computes_as
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError
from fastconv.nn.containers.arguments import as_layers
from fastconv.nn.core.layer import Chain, Context, FrozenForward
from fastconv.nn.core.rewired import got_others
from fastconv.nn.core.scope import Scope
from fastconv.nn.fused.plan import Plan, make_plan
from fastconv.nn.fused.steps import run_forward
from fastconv.nn.model.model import Layer


class Sequential(Layer):
    """Layers one after the other; children are called "0", "1", ...

    In backward the layers before the first one with parameters are left out if the gradient of the input is not
    needed.

    Layers that the backend has fused operations for run as one, see `fastconv.nn.fused.patterns`.

    Layers that are built, such as those of a trained model, keep their values, see `Layer.build`::

        model = nn.Sequential(*trained.layers[:-1], nn.Dense(3)).build((32, 32, 3))

    Parameters
    ----------
    *layers : Layer
        Or one list of them. The same one may come more than once: it shares its parameters. ``model[0]``,
        ``model[:-1]`` (a list), ``len(model)`` and ``for layer in model`` are of them.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Conv2d(4, 3), fc.nn.ReLU(), fc.nn.Flatten(), fc.nn.Dense(2)).build((8, 8, 3))
    >>> model.predict(np.zeros((5, 8, 8, 3), np.float32)).shape
    (5, 2)
    >>> model
    Sequential:
        0: Conv2d(4, 3)
        1: ReLU()
        2: Flatten()
        3: Dense(2)
    """

    setting_names = ("layers",)
    layers: tuple[Layer, ...]
    _plan: Plan | None = None

    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        self.layers = as_layers(layers, "layers")
        if not self.layers:
            raise ArgumentError("layers: got none; allowed: at least one layer")

    def __len__(self) -> int:
        return len(self.layers)

    def __bool__(self) -> bool:
        return True  # as of any other layer, whatever its length

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, place: int) -> Layer: ...
    @overload
    def __getitem__(self, place: slice) -> list[Layer]: ...
    def __getitem__(self, place: int | slice) -> Layer | list[Layer]:
        return list(self.layers[place]) if isinstance(place, slice) else self.layers[place]

    @property
    def plan(self) -> Plan:
        """How the layers run, once they are built; see `fastconv.nn.fused`."""
        plan = self._plan
        if plan is not None and plan.layers is self.layers:
            return plan
        if plan is None:
            _ = self.backend  # says so
        raise got_others(self)

    def structure(self) -> Chain | None:
        return Chain(self.layers) if computes_as(type(self)) is Sequential else None

    def arrange(self) -> None:
        """Make the plan of how the layers run."""
        self._plan = make_plan(self.layers)
        self.owns_output, self.owns_grad = self._plan.owns_output, self._plan.owns_grad

    def frozen(self) -> FrozenForward:
        return self.plan.frozen() if computes_as(type(self)) is Sequential else super().frozen()

    def children(self) -> Sequence[tuple[str, Layer]]:
        return [(str(i), layer) for i, layer in enumerate(self.layers)]

    def infer(self, input_shape: Shape) -> Shape:
        for layer in self.layers:
            input_shape = layer.infer(input_shape)
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        for name, layer in self.children():
            input_shape = scope.child(name, layer, input_shape)
        return input_shape

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        self.check_size_of(x)
        y, contexts = run_forward(self.plan.steps, x, training=training)
        return y, (contexts if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        contexts = self.check_context(context, len(self.plan.steps))
        return self.plan.backward(grad_output, contexts, needs_input_grad=needs_input_grad)
