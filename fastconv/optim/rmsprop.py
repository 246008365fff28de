"""RMSProp."""

from __future__ import annotations

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.groups import Trained
from fastconv.optim.ruled import RuledOptimizer, takes


class RMSProp(RuledOptimizer):
    """Gradients divided by the size of recent ones (Hinton 2012; centred: Graves 2013, https://arxiv.org/abs/1308.0850).

    ``g = grad + weight_decay * p + l1 * sign(p); square = alpha * square + (1 - alpha) * g**2;
    d = g / (sqrt(square) + eps); velocity = momentum * velocity + d; p -= lr * (velocity if momentum else d)``

    Parameters
    ----------
    alpha : float
        At least 0, below 1.
    momentum : float
        At least 0, below 1; without momentum there is no velocity.
    centered : bool
        Divide by the spread of recent gradients, ``square - mean**2`` (0 where rounding makes it less) in place of
        `square`, with ``mean = alpha * mean + (1 - alpha) * g``.

    Examples
    --------
    >>> layer = fc.nn.Dense(1).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> layer.weight.add_grad(np.full((1, 1), 0.5))
    >>> fc.optim.RMSProp(layer.parameters(), lr=0.01).step()
    >>> layer.weight.data.round(6)
    array([[0.9]])
    """

    rule = UPDATE_RULES["rmsprop"]

    @takes(rule.scalars)
    def __init__(self, parameters: Trained, lr: float = 1e-2, **settings: float | bool) -> None:
        super().__init__(parameters, lr, **settings)
