"""Activations: a layer for each pointwise function of the list."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv._activations import bound, described, parameters_of
from fastconv.backends.contract.types import Array
from fastconv.kernels.pointwise import POINTWISE, Activation, Pointwise
from fastconv.nn.core.layer import Context
from fastconv.nn.model.model import Layer


class PointwiseLayer(Layer):
    """``y = f(x)``, element by element, any shape. The context is what the derivative is computed from: y or x."""

    owns_grad = True
    function: ClassVar[Pointwise]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.owns_output = cls.function.needs == "x"

    @property
    def activation(self) -> Activation:
        """The function with the values that its parameters have now."""
        return self.function(*self.settings().values())

    def settings(self) -> dict[str, float]:
        return {scalar.name: getattr(self, scalar.name) for scalar in self.function.parameters}

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.activate(self.activation, x, out=y)
        return y, (None if not training else y if self.function.needs == "y" else x)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        kept = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, kept.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(kept.shape, kept.dtype)
        self.backend.activate_backward(self.activation, grad_output, kept, out=grad_input)
        return grad_input


def _make_layer(function: Pointwise) -> type[PointwiseLayer]:
    """Return the class of a function: its name, its parameters as arguments and attributes, its formula as text."""
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([own, *parameters_of(function.parameters)])

    def initialise(self: PointwiseLayer, *values: Any, **named: Any) -> None:
        _, checked = bound(signature, function.layer, function, (self, *values), named)
        for scalar, value in zip(function.parameters, checked, strict=True):
            setattr(self, scalar.name, value)

    vars(initialise)["__signature__"] = signature
    members = {
        "__module__": __name__,
        "__doc__": described(function, f"fc.nn.{function.layer}().build((3,), np.float64)(x)"),
        "__init__": initialise,
        "function": function,
    }
    made: type[PointwiseLayer] = types.new_class(
        function.layer, (PointwiseLayer,), exec_body=lambda m: m.update(members)
    )
    return made


LAYERS = {function.layer: _make_layer(function) for function in POINTWISE.values()}
globals().update(LAYERS)

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[PointwiseLayer]: ...
