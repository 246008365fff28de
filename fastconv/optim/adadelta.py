"""Adadelta."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class Adadelta(RuledOptimizer):
    """Steps as large as those before were, without a rate to choose (Zeiler 2012, https://arxiv.org/abs/1212.5701).

    ``g = grad + weight_decay * p + l1 * sign(p); square = rho * square + (1 - rho) * g**2;
    d = sqrt(changes + eps) / sqrt(square + eps) * g; changes = rho * changes + (1 - rho) * d**2; p -= lr * d``

    Parameters
    ----------
    lr : float
        Learning rate: a factor of the steps that the rule finds.
    rho : float
        At least 0, below 1.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adadelta(layer.parameters(), lr=1.0).step()
    >>> layer.weight.data.round(6)
    array([[0.996838]])
    """

    rule = UPDATE_RULES["adadelta"]

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 1.0, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
