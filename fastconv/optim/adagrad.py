"""Adagrad."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class Adagrad(RuledOptimizer):
    """Rates that fall with the gradients seen so far (Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html).

    ``g = grad + weight_decay * p + l1 * sign(p); sum += g**2;
    p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)`` at step t, counted from 1.

    Parameters
    ----------
    lr_decay : float
        How fast the rate itself falls; at least 0.
    initial_accumulator_value : float
        What `sum` begins with.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.Adagrad(layer.parameters(), lr=0.1).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    rule = UPDATE_RULES["adagrad"]

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 1e-2, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
