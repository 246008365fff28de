"""Activations: one class each, around a pair of backend operations."""

from __future__ import annotations

from typing import ClassVar

from fastconv import _validate as validate
from fastconv.backends.base import Array
from fastconv.nn.core.layer import Context
from fastconv.nn.model.model import Layer


class Activation(Layer):
    """``y = f(x)``, element by element, any shape. The context is what the derivative is computed from: y or x."""

    owns_grad = True
    operation: ClassVar[str]
    saves_output: ClassVar[bool] = False
    """Whether backward takes y; else it takes x."""

    def __init_subclass__(cls) -> None:
        cls.owns_output = not cls.saves_output

    def settings(self) -> dict[str, float]:
        """Return the arguments, which are the keyword arguments of both operations."""
        return {}

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Apply the function; the context is y or x."""
        x = self.check_input(x)
        y = self.backend.empty(x.shape, x.dtype)
        getattr(self.backend, self.operation)(x, out=y, **self.settings())
        return y, (None if not training else y if self.saves_output else x)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Return the gradient of the input."""
        kept = self.check_context(context)
        grad_output = self.check_grad(grad_output, kept.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(kept.shape, kept.dtype)
        getattr(self.backend, self.operation + "_backward")(grad_output, kept, out=grad_input, **self.settings())
        return grad_input


class ReLU(Activation):
    """``max(x, 0)``; NaN stays NaN."""

    operation = "relu"
    saves_output = True


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``."""

    operation = "sigmoid"
    saves_output = True


class Tanh(Activation):
    """Hyperbolic tangent."""

    operation = "tanh"
    saves_output = True


class GELU(Activation):
    """``x * Phi(x)`` with the normal distribution function (https://arxiv.org/abs/1606.08415)."""

    operation = "gelu"


class SiLU(Activation):
    """``x * sigmoid(x)`` (https://arxiv.org/abs/1702.03118)."""

    operation = "silu"


class LeakyReLU(Activation):
    """``x where x > 0, else slope * x``."""

    operation = "leaky_relu"

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = validate.number(slope, "slope")

    def settings(self) -> dict[str, float]:
        """Return the slope."""
        return {"slope": self.slope}


class ELU(Activation):
    """``x where x > 0, else alpha * (exp(x) - 1)`` (https://arxiv.org/abs/1511.07289)."""

    operation = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = validate.number(alpha, "alpha")

    def settings(self) -> dict[str, float]:
        """Return alpha."""
        return {"alpha": self.alpha}
