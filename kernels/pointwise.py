"""The pointwise functions: the one list that kernels, functions, layers, tables, tests and documents are made from.

Only the formulas are written elsewhere, three times and by hand, so that comparing them proves something: in NumPy
(fastconv/backends/reference/pointwise.py), in vectors of the CPU (cpu/elementwise/pointwise.py) and in CUDA
(cuda/common/pointwise.cuh).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .scalars import Scalar


@dataclass(frozen=True)
class Activation:
    """A pointwise function with values for its parameters: what an operation is called with, hashable and small."""

    name: str
    values: tuple[float, ...] = ()

    @property
    def function(self) -> Pointwise:
        """The function, as it is declared."""
        return POINTWISE[self.name]


@dataclass(frozen=True)
class Pointwise:
    """``y = f(x)``, element by element.

    Attributes
    ----------
    name, layer : str
        Of the function and of the layer: ``"leaky_relu"``, ``"LeakyReLU"``. Kernels are called ``leaky_relu_forward``
        and ``leaky_relu_gradient``.
    formula, gradient : str
        y of x, and the gradient of x from `grad_output` and x, or y.
    note, source : str
        What else is to be said, and where it comes from.
    parameters : tuple of Scalar
        At most two.
    needs : "x" or "y"
        What the gradient is computed from.
    shown : tuple of float
        y at `SHOWN_AT`, to four digits, with the defaults of its parameters: for documents, where tests compute it.
    """

    name: str
    layer: str
    formula: str
    gradient: str
    note: str = ""
    source: str = ""
    parameters: tuple[Scalar, ...] = ()
    needs: Literal["x", "y"] = "x"
    shown: tuple[float, ...] = ()

    def __call__(self, *values: float) -> Activation:
        """Return the function with these values for its first parameters and the defaults for the others."""
        rest = (parameter.default for parameter in self.parameters[len(values) :])
        return Activation(self.name, tuple(map(float, (*values, *rest))))


SHOWN_AT = (-1.0, 0.0, 2.0)

_FUNCTIONS = (
    Pointwise(
        "relu",
        "ReLU",
        "max(x, 0)",
        "grad_output where y > 0, else 0",
        note="NaN stays NaN, and passes grad_output",
        needs="y",
        shown=(0.0, 0.0, 2.0),
    ),
    Pointwise(
        "leaky_relu",
        "LeakyReLU",
        "x where x > 0, else slope * x",
        "grad_output where x > 0, else slope * grad_output",
        parameters=(Scalar("slope", 0.01),),
        shown=(-0.01, 0.0, 2.0),
    ),
    Pointwise(
        "elu",
        "ELU",
        "x where x > 0, else alpha * (exp(x) - 1)",
        "grad_output * (1 where x > 0, else alpha * exp(x))",
        source="Clevert et al. 2015, https://arxiv.org/abs/1511.07289",
        parameters=(Scalar("alpha", 1.0),),
        shown=(-0.6321, 0.0, 2.0),
    ),
    Pointwise(
        "gelu",
        "GELU",
        "x * Phi(x)",
        "grad_output * (Phi(x) + x * exp(-x**2 / 2) / sqrt(2 * pi))",
        note="the exact form, with Phi(x) = (1 + erf(x / sqrt(2))) / 2",
        source="Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415",
        shown=(-0.1587, 0.0, 1.9545),
    ),
    Pointwise(
        "silu",
        "SiLU",
        "x * sigmoid(x)",
        "grad_output * s * (1 + x * (1 - s)), s = sigmoid(x)",
        note="also called swish",
        source="Elfwing et al. 2017, https://arxiv.org/abs/1702.03118",
        shown=(-0.2689, 0.0, 1.7616),
    ),
    Pointwise(
        "sigmoid",
        "Sigmoid",
        "1 / (1 + exp(-x))",
        "grad_output * y * (1 - y)",
        note="without overflow",
        needs="y",
        shown=(0.2689, 0.5, 0.8808),
    ),
    Pointwise(
        "tanh",
        "Tanh",
        "tanh(x)",
        "grad_output * (1 - y**2)",
        note="the hyperbolic tangent",
        needs="y",
        shown=(-0.7616, 0.0, 0.964),
    ),
    Pointwise(
        "mish",
        "Mish",
        "x * tanh(log(1 + exp(x)))",
        "grad_output * (w + x * (1 - w**2) * sigmoid(x)), w = tanh(log(1 + exp(x)))",
        source="Misra 2019, https://arxiv.org/abs/1908.08681",
        shown=(-0.3034, 0.0, 1.944),
    ),
    Pointwise(
        "softplus",
        "Softplus",
        "x where beta * x > threshold, else log(1 + exp(beta * x)) / beta",
        "grad_output * (1 where beta * x > threshold, else sigmoid(beta * x))",
        note="a smooth max(x, 0), as in PyTorch",
        parameters=(Scalar("beta", 1.0, 0, open_low=True), Scalar("threshold", 20.0)),
        shown=(0.3133, 0.6931, 2.1269),
    ),
    Pointwise(
        "hardswish",
        "Hardswish",
        "0 where x <= -3, x where x >= 3, else x * (x + 3) / 6",
        "0 where x <= -3, grad_output where x >= 3, else grad_output * (x / 3 + 1 / 2)",
        source="Howard et al. 2019, https://arxiv.org/abs/1905.02244",
        shown=(-0.3333, 0.0, 1.6667),
    ),
)

POINTWISE = {function.name: function for function in _FUNCTIONS}
RELU = POINTWISE["relu"]()
