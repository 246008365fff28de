"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.nn.core.parameter import Parameter
from fastconv.optim.optimizer import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as in PyTorch.

    ``g = grad + weight_decay * p; v = momentum * v + g; p -= lr * (g + momentum * v if nesterov else v)``

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    momentum : float
        At least 0, below 1; without momentum there is no state.
    nesterov : bool
        Sutskever et al. 2013; needs momentum.
    weight_decay : float
    """

    momentum: float
    nesterov: bool
    weight_decay: float
    rule = UPDATE_RULES["sgd"]

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.take(momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov: got True without momentum; allowed: with a momentum above 0")
        if not self.momentum:
            self.state_names = ()
        super().__init__(parameters, lr)
