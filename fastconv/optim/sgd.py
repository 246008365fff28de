"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class SGD(RuledOptimizer):
    """Stochastic gradient descent with momentum, as in PyTorch.

    ``g = grad + weight_decay * p + l1 * sign(p); v = momentum * v + (1 - dampening) * g``, in the first step ``v = g``;
    ``p -= lr * (g + momentum * v if nesterov else v)``

    Parameters
    ----------
    momentum : float
        At least 0, below 1; without momentum there is no state.
    nesterov : bool
        Sutskever et al. 2013; needs momentum, and no dampening.
    dampening : float
        How much less of the gradient than all goes into the velocity.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.SGD(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.95]])
    """

    rule = UPDATE_RULES["sgd"]

    @takes(rule.scalars, positional=3)
    def __init__(self, parameters: Trained, lr: float = 1e-3, *values: float | bool, **settings: float | bool) -> None:
        super().__init__(parameters, lr, *values, **settings)

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and not settings["momentum"]:
            raise ArgumentError("nesterov: got True without momentum; allowed: with a momentum above 0")
        if settings["nesterov"] and settings["dampening"]:
            raise ArgumentError("nesterov: got True with dampening; allowed: without")
