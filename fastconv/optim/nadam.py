"""Adam with the momentum of Nesterov."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class NAdam(RuledOptimizer):
    """Adam that looks one step ahead (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ).

    ``g = grad + weight_decay * p + l1 * sign(p); m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;
    mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2); product = mu_1 * ... * mu_t;
    d = (1 - mu_t) / (1 - product) * g + mu_t+1 / (1 - product * mu_t+1) * m;
    p -= lr * d / (sqrt(v / (1 - beta2**t)) + eps)`` at step t, counted from 1.

    Parameters
    ----------
    momentum_decay : float
        How fast the momentum of the first steps grows to `beta1`.
    decoupled_weight_decay : bool
        ``p -= lr * weight_decay * p`` instead of what `weight_decay` adds to the gradient.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.NAdam(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.894355]])
    """

    rule = UPDATE_RULES["nadam"]

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 2e-3, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
