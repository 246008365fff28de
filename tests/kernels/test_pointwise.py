"""The list of pointwise functions: what it says arrives in the docstrings of functions and layers."""

from __future__ import annotations

import inspect

import pytest

import fastconv as fc
from fastconv.kernels.pointwise import POINTWISE

FIRST_LINES = {
    "relu": "``max(x, 0)``; NaN stays NaN, and passes grad_output.",
    "leaky_relu": "``x where x > 0, else slope * x``.",
    "elu": "``x where x > 0, else alpha * (exp(x) - 1)`` (Clevert et al. 2015, https://arxiv.org/abs/1511.07289).",
    "gelu": "``x * Phi(x)``; the exact form, with Phi(x) = (1 + erf(x / sqrt(2))) / 2"
    " (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415).",
    "silu": "``x * sigmoid(x)``; also called swish (Elfwing et al. 2017, https://arxiv.org/abs/1702.03118).",
    "sigmoid": "``1 / (1 + exp(-x))``; without overflow.",
    "tanh": "``tanh(x)``; the hyperbolic tangent.",
    "mish": "``x * tanh(log(1 + exp(x)))`` (Misra 2019, https://arxiv.org/abs/1908.08681).",
    "softplus": "``x where beta * x > threshold, else log(1 + exp(beta * x)) / beta``;"
    " a smooth max(x, 0), as in PyTorch.",
    "hardswish": "``0 where x <= -3, x where x >= 3, else x * (x + 3) / 6``"
    " (Howard et al. 2019, https://arxiv.org/abs/1905.02244).",
}


@pytest.mark.parametrize("name", FIRST_LINES)
def test_formula_note_and_source_are_the_first_line(name: str) -> None:
    layer = getattr(fc.nn, POINTWISE[name].layer)
    for documented in (getattr(fc.functional, name), layer):
        assert inspect.getdoc(documented).partition("\n\n")[0] == FIRST_LINES[name]


def test_values_not_given_are_the_defaults() -> None:
    assert POINTWISE["softplus"](2).values == (2.0, 20.0)
    assert POINTWISE["softplus"]().values == (1.0, 20.0)
    assert POINTWISE["relu"]().values == ()
