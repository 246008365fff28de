"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastconv import _validate as validate
from fastconv.backends.base import Array
from fastconv.errors import ArgumentError
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

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = validate.number(momentum, "momentum", low=0, high=1)
        self.nesterov = bool(nesterov)
        self.weight_decay = validate.number(weight_decay, "weight_decay", low=0)
        if self.nesterov and not self.momentum:
            raise ArgumentError("nesterov: got True without momentum; allowed: with a momentum above 0")
        self.state_names = ("velocity",) if self.momentum else ()
        super().__init__(parameters, lr)

    def settings(self) -> dict[str, float | bool]:
        """Return the hyperparameters but the learning rate."""
        return {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}

    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        self.backend.sgd_step(
            data,
            grad,
            state.get("velocity"),
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
