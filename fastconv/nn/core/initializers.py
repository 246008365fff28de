"""Initial values of parameters, drawn on the host so that they are equal on all backends.

fan_in is the number of inputs that one output sums over, fan_out the number of outputs that one input goes to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Shape
from fastconv.errors import ArgumentError

Draw = Callable[[np.random.Generator, Shape, int, int], np.ndarray]


def _default(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw uniformly within 1 / sqrt(fan_in), as PyTorch draws the weights and biases of its layers."""
    bound = 1 / math.sqrt(fan_in)
    return generator.uniform(-bound, bound, shape)


def _he_normal(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw from the normal distribution with variance 2 / fan_in (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return generator.normal(0.0, math.sqrt(2 / fan_in), shape)


def _glorot_uniform(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw uniformly with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-bound, bound, shape)


def _lecun_normal(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw from the normal distribution with variance 1 / fan_in (LeCun et al. 1998)."""
    return generator.normal(0.0, math.sqrt(1 / fan_in), shape)


def _dirac(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Let the first filters of each group hand on one input channel each, as PyTorch's dirac_; draw others as default.

    (Zagoruyko and Komodakis 2017, https://arxiv.org/abs/1706.00388; only of the first ones: Jordan 2024, section 3.1,
    https://arxiv.org/abs/2404.00498)
    """
    weights = _default(generator, shape, fan_in, fan_out)
    *kernel_size, inputs, outputs = shape
    groups = math.prod(kernel_size) * outputs // fan_out
    centre = tuple(size // 2 for size in kernel_size)
    for group in range(groups):
        for channel in range(min(inputs, outputs // groups)):
            place = group * (outputs // groups) + channel
            weights[..., place] = 0
            weights[(*centre, channel, place)] = 1
    return weights


def _unit_std(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw as default, and divide by the standard deviation of what was drawn, if it is not 0."""
    weights = _default(generator, shape, fan_in, fan_out)
    divided: np.ndarray = weights / (weights.std() or 1.0)
    return divided


def _zeros(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    return np.zeros(shape)


def _ones(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
    return np.ones(shape)


_WEIGHTS: dict[str, Draw] = {
    "default": _default,
    "he_normal": _he_normal,
    "glorot_uniform": _glorot_uniform,
    "lecun_normal": _lecun_normal,
    "dirac": _dirac,
    "unit_std": _unit_std,
    "zeros": _zeros,
}
_DRAWS: dict[str, Draw] = {**_WEIGHTS, "ones": _ones}


def draw_of(init: str | float) -> Draw:
    """Return what draws the values of `init`, the name of an initialiser, "ones", or a number, which all are."""
    if not isinstance(init, str):
        value = as_float(init, "init", f"{', '.join(_DRAWS)}, or ")
        return lambda generator, shape, fan_in, fan_out: np.full(shape, value)
    if init not in _DRAWS:
        raise ArgumentError(f"init: got {init!r}; allowed: {', '.join(_DRAWS)}")
    return _DRAWS[init]


def as_float(value: Any, name: str, others: str = "") -> float:
    """Return `value` as a float, a finite one or not; `others` is what else is allowed."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name}: got {validate.shown(value)}; allowed: {others}a number") from None


def weight_and_bias(init: str) -> tuple[str, str]:
    """Return the names of the draws for a weight and its bias: a bias starts at zero, except with "default"."""
    if not isinstance(init, str) or init not in _WEIGHTS:
        raise ArgumentError(f"init: got {init!r}; allowed: {', '.join(_WEIGHTS)}")
    return init, "default" if init == "default" else "zeros"
