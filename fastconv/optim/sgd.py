"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as in PyTorch.

    ``g = grad + weight_decay * p + l1 * sign(p); v = momentum * v + (1 - dampening) * g``, in the first step ``v = g``;
    ``p -= lr * (g + momentum * v if nesterov else v)``

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Or groups of them with settings of their own, see `Optimizer`.
    lr : float
        Learning rate.
    momentum : float
        At least 0, below 1; without momentum there is no state.
    nesterov : bool
        Sutskever et al. 2013; needs momentum, and no dampening.
    weight_decay : float
        L2 penalty: times the parameter, added to the gradient.
    dampening : float
        How much less of the gradient than all goes into the velocity.
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.SGD(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.95]])
    """

    momentum: float
    nesterov: bool
    weight_decay: float
    dampening: float
    l1: float
    rule = UPDATE_RULES["sgd"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        dampening: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        self.take(momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, dampening=dampening, l1=l1)
        super().__init__(parameters, lr)

    def check(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and not settings["momentum"]:
            raise ArgumentError("nesterov: got True without momentum; allowed: with a momentum above 0")
        if settings["nesterov"] and settings["dampening"]:
            raise ArgumentError("nesterov: got True with dampening; allowed: without")
