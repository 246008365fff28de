"""Adam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastconv import _validate as validate
from fastconv.backends.base import Array
from fastconv.nn.core.parameter import Parameter
from fastconv.optim.optimizer import Optimizer


class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, https://arxiv.org/abs/1412.6980).

    ``g = grad + weight_decay * p; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    p -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, counted from 1.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    beta1, beta2 : float
        At least 0, below 1.
    eps : float
        Above 0.
    weight_decay : float
        Added to the gradient, as in PyTorch's Adam.
    """

    state_names = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.beta1 = validate.number(beta1, "beta1", low=0, high=1)
        self.beta2 = validate.number(beta2, "beta2", low=0, high=1)
        self.eps = validate.number(eps, "eps", low=0, open_low=True)
        self.weight_decay = validate.number(weight_decay, "weight_decay", low=0)
        super().__init__(parameters, lr)

    def settings(self) -> dict[str, float | bool]:
        """Return the hyperparameters but the learning rate."""
        return {"beta1": self.beta1, "beta2": self.beta2, "eps": self.eps, "weight_decay": self.weight_decay}

    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        self.backend.adam_step(
            data,
            grad,
            state["m"],
            state["v"],
            lr=lr,
            step=step,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
