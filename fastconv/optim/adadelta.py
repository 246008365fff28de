"""Adadelta."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.optimizer import Optimizer


class Adadelta(Optimizer):
    """Steps as large as those before were, without a rate to choose (Zeiler 2012, https://arxiv.org/abs/1212.5701).

    ``g = grad + weight_decay * p + l1 * sign(p); square = rho * square + (1 - rho) * g**2;
    d = sqrt(changes + eps) / sqrt(square + eps) * g; changes = rho * changes + (1 - rho) * d**2; p -= lr * d``

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Or groups of them with settings of their own, see `Optimizer`.
    lr : float
        Learning rate: a factor of the steps that the rule finds.
    rho : float
        At least 0, below 1.
    eps : float
        Above 0.
    weight_decay : float
        L2 penalty: times the parameter, added to the gradient.
    l1 : float
        L1 penalty: times the parameter's sign, added to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adadelta(layer.parameters(), lr=1.0).step()
    >>> layer.weight.data.round(6)
    array([[0.996838]])
    """

    rho: float
    eps: float
    weight_decay: float
    l1: float
    rule = UPDATE_RULES["adadelta"]

    def __init__(
        self,
        parameters: Trained,
        lr: float = 1.0,
        *,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        self.take(rho=rho, eps=eps, weight_decay=weight_decay, l1=l1)
        super().__init__(parameters, lr)
