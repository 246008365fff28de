"""Adam."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class Adam(RuledOptimizer):
    """Adam (Kingma and Ba 2014, https://arxiv.org/abs/1412.6980).

    ``g = grad + weight_decay * p + l1 * sign(p); m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    p -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, counted from 1.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adam(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    rule = UPDATE_RULES["adam"]

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 1e-3, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
